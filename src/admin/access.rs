//! Who asks, and what they may do: the peer's user id, its primary group, and the groups that the user
//! database gives that user.

use super::server::Settings;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use std::ffi::CString;

/// What a peer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Nothing: every request is answered with 403.
    Nothing,
    /// Ask.
    Read,
    /// Ask and change.
    Write,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user id.
    pub uid: u32,
    /// What they may do.
    pub access: Access,
}

/// Looks a peer up in the user database. May block: on some machines that is a directory server.
///
/// A group that does not exist has no members, and trouble with the database gives nobody anything.
pub(super) fn look_up(uid: u32, gid: u32, settings: &Settings) -> Caller {
    let own_uid = nix::unistd::geteuid().as_raw();
    let group = |name: &str| Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw());
    let access = if uid == 0 || uid == own_uid {
        Access::Write
    } else {
        decide(&groups_of(uid, gid), group(&settings.write_group), group(&settings.read_group))
    };
    Caller { uid, access }
}

fn decide(groups: &[u32], write_group: Option<u32>, read_group: Option<u32>) -> Access {
    let member = |group: Option<u32>| group.is_some_and(|group| groups.contains(&group));
    if member(write_group) {
        Access::Write
    } else if member(read_group) {
        Access::Read
    } else {
        Access::Nothing
    }
}

fn groups_of(uid: u32, gid: u32) -> Vec<u32> {
    let listed = User::from_uid(Uid::from_raw(uid))
        .ok()
        .flatten()
        .and_then(|user| CString::new(user.name).ok().and_then(|name| getgrouplist(&name, user.gid).ok()))
        .unwrap_or_default();
    listed.into_iter().map(Gid::as_raw).chain([gid]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_write_group_goes_before_the_read_group_and_strangers_get_nothing() {
        for (groups, write_group, read_group, want) in [
            (vec![7], Some(7), Some(8), Access::Write),
            (vec![8], Some(7), Some(8), Access::Read),
            (vec![8, 7], Some(7), Some(8), Access::Write),
            (vec![9], Some(7), Some(8), Access::Nothing),
            (vec![9], None, None, Access::Nothing), // neither group exists
            (vec![], Some(7), Some(8), Access::Nothing),
        ] {
            assert_eq!(decide(&groups, write_group, read_group), want, "{groups:?} {write_group:?} {read_group:?}");
        }
    }

    #[test]
    fn a_user_the_database_does_not_know_has_the_group_it_came_with() {
        assert_eq!(groups_of(3_999_999_999, 4711), [4711]);
    }
}
