//! The pipeline over tables in user-space memory.
