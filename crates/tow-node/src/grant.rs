//! What a peer may do, as values: a handler asks its grant for a permit, and can do nothing without.
//!
//! A [`Permit`] can only be had from a [`Grant`], and a grant only from a key's record or, for the
//! owner, from the kernel's word on the Unix socket. So a handler that forgets to ask does not compile.

use std::fmt;
use std::marker::PhantomData;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tow_host::beneath::Root;
use tow_proto::message::{Exists, Rights, Write as WriteRequest};
use tow_proto::{Code, Refusal};

use crate::identity::KeyId;
use crate::keys::{Holder, Record};

/// Who a peer is here, and what it may do.
#[derive(Clone, Debug)]
pub struct Grant {
    key: Option<KeyId>,
    name: String,
    rights: Rights,
    root: Root,
    start: PathBuf,
    expires: Option<SystemTime>,
    end: Option<SystemTime>,
    session: Option<String>,
    fills: Fills,
}

/// What whoever may write does to what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fills {
    /// Whatever they like.
    Anything,
    /// Nothing: a drop box takes what is new.
    NewNames,
}

/// Leave to do what `K` stands for, at the time it was asked for.
#[derive(Clone, Debug)]
pub struct Permit<K> {
    root: Root,
    start: PathBuf,
    rights: Rights,
    expires: Option<SystemTime>,
    session: Option<String>,
    fills: Fills,
    _kind: PhantomData<K>,
}

/// List and read files.
#[derive(Clone, Copy, Debug)]
pub enum Read {}
/// Write, rename and delete files.
#[derive(Clone, Copy, Debug)]
pub enum Write {}
/// Run programs.
#[derive(Clone, Copy, Debug)]
pub enum Run {}
/// Manage keys, and everybody's sessions.
#[derive(Clone, Copy, Debug)]
pub enum Admin {}
/// Look at sessions, or work with them.
#[derive(Clone, Copy, Debug)]
pub enum Sessions {}

/// What may be done with some sessions (PROTOCOL 7.5). Each includes what stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum May {
    /// They are not seen.
    Nothing,
    /// They are listed and looked at.
    View,
    /// They are worked with.
    All,
}

/// One right, by its name on the command line and in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// Run programs and open terminals.
    Run,
    /// List and read files.
    Read,
    /// Write, rename and delete files.
    Write,
    /// Forward connections.
    Forward,
    /// Manage keys, and everybody's sessions.
    Admin,
    /// Watch sessions.
    Watch,
}

/// A word that names no right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no such right; there are run, read, write, forward, admin and watch")]
pub struct UnknownRight;

impl Grant {
    /// The grant of a key.
    ///
    /// # Errors
    /// It has expired, or its root or start directory can't be opened.
    pub fn of(record: &Record, now: SystemTime) -> Result<Self, Refusal> {
        check_expiry(record.expires, now)?;
        let root = Root::open(&record.root, &record.start)?;
        if record.root_identity.is_some() && record.root_identity != root.identity().ok() {
            return Err(Refusal::about(Code::NotFound, record.root.as_os_str().as_bytes()));
        }
        Ok(Self {
            key: Some(record.key.id()),
            name: record.name.clone(),
            rights: record.rights,
            root,
            start: record.start.clone(),
            expires: record.expires,
            end: match record.holder {
                Holder::Browser => record.end,
                _ => record.expires,
            },
            session: record.session.clone(),
            fills: match record.holder {
                Holder::Share if !record.rights.read => Fills::NewNames,
                _ => Fills::Anything,
            },
        })
    }

    /// Everything, starting in `home`: for a peer of whom the kernel says that it is the user who
    /// runs the node, or root.
    ///
    /// # Errors
    /// `home` can't be opened.
    pub fn owner(home: &Path) -> Result<Self, Refusal> {
        Ok(Self {
            key: None,
            name: OWNER.to_owned(),
            rights: Right::all(),
            root: Root::open(Path::new("/"), home)?,
            start: home.to_owned(),
            expires: None,
            end: None,
            session: None,
            fills: Fills::Anything,
        })
    }

    /// The key that it belongs to; `None` for the owner on the Unix socket.
    pub fn key(&self) -> Option<KeyId> {
        self.key
    }

    /// What the device is called here.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it allows: to be told to the peer, not to be decided upon.
    pub fn rights(&self) -> Rights {
        self.rights
    }

    /// When it ends.
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    /// When it ends however often it is used: a browser that is away for long has to be let in again,
    /// and what it has shared goes on.
    pub fn end(&self) -> Option<SystemTime> {
        self.end
    }

    /// Whether it is still good at `now`.
    ///
    /// # Errors
    /// `ExpiredKey`.
    pub fn check(&self, now: SystemTime) -> Result<(), Refusal> {
        check_expiry(self.expires, now)
    }

    /// Leave to list and read files.
    ///
    /// # Errors
    /// `NoRight`, `ExpiredKey`.
    pub fn read(&self, now: SystemTime) -> Result<Permit<Read>, Refusal> {
        self.permit(Right::Read, now)
    }

    /// Leave to write, rename and delete files.
    ///
    /// # Errors
    /// `NoRight`, `ExpiredKey`.
    pub fn write(&self, now: SystemTime) -> Result<Permit<Write>, Refusal> {
        self.permit(Right::Write, now)
    }

    /// Leave to change what is there already, which a drop box does not give.
    ///
    /// # Errors
    /// `NoRight`, `ExpiredKey`.
    pub fn change(&self, now: SystemTime) -> Result<Permit<Write>, Refusal> {
        match self.fills {
            Fills::Anything => self.write(now),
            Fills::NewNames => {
                Err(Refusal { right: Some(Right::Read.to_string()), ..Code::NoRight.into() })
            }
        }
    }

    /// Leave to run programs, as the user who runs the node.
    ///
    /// # Errors
    /// `NoRight`, `ExpiredKey`.
    pub fn run(&self, now: SystemTime) -> Result<Permit<Run>, Refusal> {
        // Whoever may type into one session may still not start another program.
        if self.session.is_some() {
            return Err(Refusal { right: Some(Right::Run.to_string()), ..Code::NoRight.into() });
        }
        self.permit(Right::Run, now)
    }

    /// Leave to manage keys and everybody's sessions.
    ///
    /// # Errors
    /// `NoRight`, `ExpiredKey`.
    pub fn admin(&self, now: SystemTime) -> Result<Permit<Admin>, Refusal> {
        self.permit(Right::Admin, now)
    }

    /// Leave to look at sessions, or to work with them: how far, the permit says.
    ///
    /// # Errors
    /// `NoRight`, `ExpiredKey`.
    pub fn sessions(&self, now: SystemTime) -> Result<Permit<Sessions>, Refusal> {
        let sufficient = [Right::Run, Right::Watch, Right::Admin];
        let right = sufficient.into_iter().find(|right| right.is_in(self.rights));
        self.permit(right.unwrap_or(Right::Run), now)
    }

    fn permit<K>(&self, right: Right, now: SystemTime) -> Result<Permit<K>, Refusal> {
        self.check(now)?;
        if !right.is_in(self.rights) {
            return Err(Refusal { right: Some(right.to_string()), ..Code::NoRight.into() });
        }
        Ok(Permit {
            root: self.root.clone(),
            start: self.start.clone(),
            rights: self.rights,
            expires: self.expires,
            session: self.session.clone(),
            fills: self.fills,
            _kind: PhantomData,
        })
    }
}

impl Permit<Read> {
    /// The directory that everything is opened beneath.
    pub fn root(&self) -> &Root {
        &self.root
    }
}

impl Permit<Write> {
    /// The request as far as it is allowed: into a drop box goes only what has a new name.
    #[must_use]
    pub fn narrow(&self, write: WriteRequest) -> WriteRequest {
        match self.fills {
            Fills::Anything => write,
            Fills::NewNames => WriteRequest { exists: Exists::Keep, ..write },
        }
    }

    /// The directory that everything is opened beneath.
    pub fn root(&self) -> &Root {
        &self.root
    }
}

impl Permit<Run> {
    /// Where a program starts when nothing else is said.
    pub fn start(&self) -> &Path {
        &self.start
    }
}

impl Permit<Sessions> {
    /// What may be done with those that this key started.
    pub fn own(&self) -> May {
        if self.session.is_some() {
            return May::Nothing;
        }
        if self.rights.run || self.rights.admin { May::All } else { May::View }
    }

    /// What may be done with those of others; of a share, with the one that it opens.
    pub fn others(&self) -> May {
        if self.session.is_some() {
            return if self.rights.run { May::All } else { May::View };
        }
        match (self.rights.admin, self.rights.watch) {
            (true, _) => May::All,
            (false, true) => May::View,
            (false, false) => May::Nothing,
        }
    }
}

impl Permit<Sessions> {
    /// The only session that it is good for, where it is good for one.
    pub fn only(&self) -> Option<&str> {
        self.session.as_deref()
    }
}

impl Permit<Admin> {
    /// Nobody can give away more than they have. `root` is a resolved path.
    ///
    /// # Errors
    /// `NoRight` with the first right that is missing, or `OutsideRoot`.
    pub fn check_gift(&self, rights: Rights, root: &Path) -> Result<(), Refusal> {
        let missing =
            Right::ALL.into_iter().find(|right| right.is_in(rights) && !right.is_in(self.rights));
        if let Some(right) = missing {
            return Err(Refusal { right: Some(right.to_string()), ..Code::NoRight.into() });
        }
        if !root.starts_with(self.root.path()) {
            return Err(Refusal::about(Code::OutsideRoot, root.as_os_str().as_bytes()));
        }
        Ok(())
    }

    /// When what is given away has to end at the latest.
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires
    }
}

impl Right {
    /// Every right, in the order in which they are shown.
    pub const ALL: [Self; 6] =
        [Self::Run, Self::Read, Self::Write, Self::Forward, Self::Admin, Self::Watch];

    /// All of them together.
    pub fn all() -> Rights {
        Self::together(Self::ALL)
    }

    /// Several together.
    pub fn together(several: impl IntoIterator<Item = Self>) -> Rights {
        let mut rights = Rights::default();
        for right in several {
            *right.field(&mut rights) = true;
        }
        rights
    }

    /// Those of `rights`, in the order in which they are shown.
    pub fn list(rights: Rights) -> Vec<Self> {
        Self::ALL.into_iter().filter(|right| right.is_in(rights)).collect()
    }

    /// Whether `rights` has it.
    pub fn is_in(self, mut rights: Rights) -> bool {
        *self.field(&mut rights)
    }

    fn field(self, rights: &mut Rights) -> &mut bool {
        match self {
            Self::Run => &mut rights.run,
            Self::Read => &mut rights.read,
            Self::Write => &mut rights.write,
            Self::Forward => &mut rights.forward,
            Self::Admin => &mut rights.admin,
            Self::Watch => &mut rights.watch,
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Run => "run",
            Self::Read => "read",
            Self::Write => "write",
            Self::Forward => "forward",
            Self::Admin => "admin",
            Self::Watch => "watch",
        })
    }
}

impl FromStr for Right {
    type Err = UnknownRight;

    fn from_str(word: &str) -> Result<Self, UnknownRight> {
        Self::ALL.into_iter().find(|right| right.to_string() == word).ok_or(UnknownRight)
    }
}

fn check_expiry(expires: Option<SystemTime>, now: SystemTime) -> Result<(), Refusal> {
    if expires.is_some_and(|expires| now >= expires) {
        Err(Code::ExpiredKey.into())
    } else {
        Ok(())
    }
}

const OWNER: &str = "owner";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;
    use crate::identity::PublicKey;
    use crate::test_dir::TestDir;

    fn record(dir: &TestDir, rights: Rights) -> Record {
        Record {
            key: PublicKey::from_bytes([1; 32]),
            name: "laptop".to_owned(),
            rights,
            root: dir.path().to_owned(),
            start: dir.path().to_owned(),
            created: now(),
            expires: None,
            holder: crate::keys::Holder::Device,
            end: None,
            session: None,
            root_identity: None,
            giver: None,
        }
    }

    fn now() -> SystemTime {
        clock::from_unix_secs(1_000_000)
    }

    /// Which rights of the four that make permits `grant` has at `at`, with the refusals of others.
    fn permits(grant: &Grant, at: SystemTime) -> [Result<(), Refusal>; 4] {
        [
            grant.run(at).map(drop),
            grant.read(at).map(drop),
            grant.write(at).map(drop),
            grant.admin(at).map(drop),
        ]
    }

    const PERMITS: [Right; 4] = [Right::Run, Right::Read, Right::Write, Right::Admin];

    #[test]
    fn every_right_gives_its_own_permit_and_no_other() {
        let dir = TestDir::new();
        for right in Right::ALL {
            let grant = Grant::of(&record(&dir, Right::together([right])), now()).unwrap();
            for (asked, permit) in PERMITS.into_iter().zip(permits(&grant, now())) {
                if asked == right {
                    assert_eq!(permit, Ok(()));
                    continue;
                }
                let refusal = permit.unwrap_err();
                assert_eq!(refusal.code, Code::NoRight);
                assert_eq!(refusal.right, Some(asked.to_string()));
            }
        }
    }

    #[test]
    fn sessions_are_seen_and_worked_with_as_the_rights_say() {
        let dir = TestDir::new();
        let may = |rights: &[Right]| {
            let rights = Right::together(rights.iter().copied());
            let grant = Grant::of(&record(&dir, rights), now()).unwrap();
            grant.sessions(now()).map(|permit| (permit.own(), permit.others()))
        };
        use Right::{Admin, Forward, Read, Run, Watch, Write};
        assert_eq!(may(&[Run]), Ok((May::All, May::Nothing)));
        assert_eq!(may(&[Watch]), Ok((May::View, May::View)));
        assert_eq!(may(&[Run, Watch]), Ok((May::All, May::View)));
        for rights in [&[Admin][..], &[Admin, Run], &[Admin, Watch], &[Admin, Run, Watch]] {
            assert_eq!(may(rights), Ok((May::All, May::All)));
        }
        for rights in [&[][..], &[Read, Write, Forward]] {
            let refused = may(rights).unwrap_err();
            assert_eq!((refused.code, refused.right.as_deref()), (Code::NoRight, Some("run")));
        }
    }

    #[test]
    fn a_grant_that_ends_while_a_link_is_open_gives_no_more_permits() {
        let dir = TestDir::new();
        let ends = now() + Duration::from_secs(10);
        let record = Record { expires: Some(ends), ..record(&dir, Right::all()) };
        let grant = Grant::of(&record, now()).unwrap();
        let before = ends - Duration::from_nanos(1);
        assert!(permits(&grant, before).iter().all(Result::is_ok));
        for permit in permits(&grant, ends) {
            assert_eq!(permit.unwrap_err().code, Code::ExpiredKey);
        }
        assert_eq!(grant.check(ends).unwrap_err().code, Code::ExpiredKey);
        assert_eq!(Grant::of(&record, ends).unwrap_err().code, Code::ExpiredKey);
    }

    #[test]
    fn a_permit_holds_the_root_that_was_granted() {
        let dir = TestDir::new();
        let grant = Grant::of(&record(&dir, Right::all()), now()).unwrap();
        let real = dir.path().canonicalize().unwrap();
        assert_eq!(grant.read(now()).unwrap().root().path(), real);
        assert_eq!(grant.write(now()).unwrap().root().path(), real);
        assert_eq!(grant.run(now()).unwrap().start(), dir.path());
        assert_eq!(
            (grant.key(), grant.name()),
            (Some(record(&dir, Right::all()).key.id()), "laptop")
        );
    }

    #[test]
    fn the_owner_may_do_everything_everywhere() {
        let dir = TestDir::new();
        let grant = Grant::owner(dir.path()).unwrap();
        let late = clock::from_unix_secs(u64::MAX);
        assert!(permits(&grant, late).iter().all(Result::is_ok));
        assert_eq!(grant.read(late).unwrap().root().path(), Path::new("/"));
        assert_eq!((grant.key(), grant.expires()), (None, None));
    }

    #[test]
    fn nobody_gives_away_more_than_they_have() {
        let dir = TestDir::new();
        let own = Right::together([Right::Read, Right::Admin]);
        let permit = Grant::of(&record(&dir, own), now()).unwrap().admin(now()).unwrap();
        let real = dir.path().canonicalize().unwrap();
        assert_eq!(permit.check_gift(own, &real), Ok(()));
        assert_eq!(permit.check_gift(Rights::default(), &real.join("below")), Ok(()));
        let refused = permit.check_gift(Right::all(), &real).unwrap_err();
        assert_eq!((refused.code, refused.right.as_deref()), (Code::NoRight, Some("run")));
        for outside in [Path::new("/"), &real.with_file_name("tow"), real.parent().unwrap()] {
            let refused = permit.check_gift(own, outside).unwrap_err();
            assert_eq!(refused.code, Code::OutsideRoot, "{}", outside.display());
        }
        let mut beside = real.into_os_string();
        beside.push("-2");
        assert!(permit.check_gift(own, Path::new(&beside)).is_err(), "a longer name is not below");
    }

    #[test]
    fn a_root_that_is_gone_gives_no_grant() {
        let dir = TestDir::new();
        let record = Record { root: dir.path().join("gone"), ..record(&dir, Right::all()) };
        assert_eq!(Grant::of(&record, now()).unwrap_err().code, Code::NotFound);
    }

    #[test]
    fn rights_have_one_word_each() {
        for right in Right::ALL {
            assert_eq!(right.to_string().parse(), Ok(right));
            assert_eq!(Right::list(Right::together([right])), [right]);
        }
        assert_eq!("Read".parse::<Right>(), Err(UnknownRight));
        assert_eq!(Right::list(Right::all()), Right::ALL);
    }
}
