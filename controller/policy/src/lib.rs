//! YAML with positions to a checked model, to a compiled image; explain; the naive evaluator.
