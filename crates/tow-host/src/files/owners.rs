//! Names of users and groups of this machine, by number and back: read once for a transfer.

use std::collections::HashMap;

use rustix::fs::Stat;
use tow_proto::transfer::Owner;

/// What `/etc/passwd` and `/etc/group` say.
#[derive(Debug, Default)]
pub(super) struct Owners {
    users: Names,
    groups: Names,
}

#[derive(Debug, Default)]
struct Names {
    by_id: HashMap<u32, Vec<u8>>,
    by_name: HashMap<Vec<u8>, u32>,
}

impl Owners {
    /// Reads both. What can't be read has no names: numbers are enough then.
    pub(super) fn load() -> Self {
        let names = |path| std::fs::read(path).map(|text| Names::parse(&text)).unwrap_or_default();
        Self { users: names("/etc/passwd"), groups: names("/etc/group") }
    }

    /// Whose something is, with names where they are known.
    pub(super) fn of(&self, stat: &Stat) -> Owner {
        let name = |names: &Names, id| names.by_id.get(&id).cloned().unwrap_or_default();
        Owner {
            uid: stat.st_uid,
            gid: stat.st_gid,
            user: name(&self.users, stat.st_uid),
            group: name(&self.groups, stat.st_gid),
        }
    }

    /// The user's number here: that of the name where it is known, else the number itself.
    pub(super) fn uid(&self, owner: &Owner) -> u32 {
        self.users.by_name.get(&owner.user).copied().unwrap_or(owner.uid)
    }

    /// The group's number here, likewise.
    pub(super) fn gid(&self, owner: &Owner) -> u32 {
        self.groups.by_name.get(&owner.group).copied().unwrap_or(owner.gid)
    }
}

impl Names {
    /// Lines of `name:…:number:…`; the first of several counts.
    fn parse(text: &[u8]) -> Self {
        let mut names = Self::default();
        for line in text.split(|byte| *byte == b'\n') {
            let mut fields = line.split(|byte| *byte == b':');
            let (name, number) = (fields.next(), fields.nth(1));
            let number = number.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
            if let (Some(name @ [_, ..]), Some(id)) = (name, number) {
                names.by_id.entry(id).or_insert_with(|| name.to_vec());
                names.by_name.entry(name.to_vec()).or_insert(id);
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_decides_where_it_is_known_and_else_the_number() {
        let users =
            Names::parse(b"root:x:0:0::/root:/bin/sh\nann:x:7:7::\n# x\nbroken\nbob:x:no:\n");
        let owners = Owners { users, groups: Names::parse(b"root:x:0:\nstaff:x:50:ann,bob\n") };
        let owner = |user: &str, group: &str| {
            let owner = Owner { uid: 1, gid: 2, user: user.into(), group: group.into() };
            (owners.uid(&owner), owners.gid(&owner))
        };
        assert_eq!(owner("ann", "staff"), (7, 50));
        assert_eq!(owner("bob", "nobody"), (1, 2));
        assert_eq!(owner("", ""), (1, 2));
        assert_eq!(owners.users.by_id.get(&7), Some(&b"ann".to_vec()));
    }
}
