//! Who may talk to the daemon: its owner, root, and one group if it was told so. The
//! permissions of the socket say the same; this is the second lock.

use std::ffi::CString;

use nix::unistd::{Gid, Uid, User, geteuid, getgrouplist};

/// The rule.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    owner: Uid,
    group: Option<Gid>,
}

impl Access {
    /// Root and the user of this process, and the members of `group`.
    pub fn new(group: Option<Gid>) -> Self {
        Self { owner: geteuid(), group }
    }

    /// The group that has access.
    pub fn group(&self) -> Option<Gid> {
        self.group
    }

    /// May a peer with these credentials (`SO_PEERCRED`: taken by the kernel when it
    /// connected) talk to the daemon?
    pub fn admits(&self, uid: u32, gid: u32) -> bool {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        uid.is_root()
            || uid == self.owner
            || self.group.is_some_and(|group| group == gid || is_member(uid, group))
    }
}

/// Supplementary groups are not part of the credentials: the user database knows them.
fn is_member(uid: Uid, group: Gid) -> bool {
    let Ok(Some(user)) = User::from_uid(uid) else { return false };
    let Ok(name) = CString::new(user.name) else { return false };
    getgrouplist(&name, user.gid).is_ok_and(|groups| groups.contains(&group))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: u32 = 65_534;

    #[test]
    fn root_and_the_owner_only() {
        let access = Access::new(None);
        let own = geteuid().as_raw();
        assert!(access.admits(0, 0) && access.admits(own, NOBODY));
        assert!(!access.admits(own + 1, 0));
        assert!(!access.admits(NOBODY, NOBODY));
    }

    #[test]
    fn members_of_the_group_too() {
        let access = Access::new(Some(Gid::from_raw(NOBODY)));
        assert!(access.admits(12_345, NOBODY));
        assert!(!access.admits(12_345, NOBODY - 1));
        // The user database puts nobody into nogroup, whatever group the process has.
        assert!(access.admits(NOBODY, 7));
    }
}
