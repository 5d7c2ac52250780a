//! Sockets in the file system.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt, chown},
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

use portcullis_switch::Owner;

/// Who may connect: the owner, and the group.
const MODE: u32 = 0o660;
/// Lets everybody go through a directory, and see nothing in it.
const THROUGH: u32 = 0o011;

/// Listens at a path where nobody does; a socket that somebody left there is removed.
pub fn listen(path: &Path, owner: Owner) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(_) => fs::remove_file(path)?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    chown(path, owner.user, owner.group)?;
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
    Ok(listener)
}

/// Lets others than the owner of a directory reach what is theirs in it.
pub fn let_through(directory: &Path) -> io::Result<()> {
    let mode = fs::metadata(directory)?.permissions().mode();
    fs::set_permissions(directory, fs::Permissions::from_mode(mode | THROUGH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_a_socket_of_nobody_is_taken() {
        let folder = std::env::temp_dir().join(format!("portcullis-socket-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("s");
        let listens = || listen(&path, Owner::default());
        let first = listens().unwrap();
        assert_eq!(listens().unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        drop(listens().unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "a file").unwrap();
        assert_eq!(listens().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(path.exists(), "it is somebody's");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        let_through(&folder).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o711);
        fs::remove_dir_all(&folder).unwrap();
    }
}
