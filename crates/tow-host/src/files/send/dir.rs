//! One directory: what of it is sent, by the plan that follows from both sides' listings.

use std::collections::HashSet;
use std::sync::Arc;

use rustix::fd::OwnedFd;
use tow_proto::transfer::{Action, Entry, INLINE_MAX, Listing, Meta, Record, What, plan};
use tow_proto::{ByteString, Code, Refusal};

use super::Sender;
use super::asides::Wanted;
use super::large::Way;
use super::outlet::Stop;
use super::small::Small;
use super::window::There;
use crate::beneath::{code_of, split_last};
use crate::files::filter::Filter;
use crate::files::item::Change;
use crate::files::meta::size_of_file;
use crate::files::scan::Scanned;
use crate::files::source::Origin;
use crate::files::tree::join;

/// The directory that is being sent.
pub(super) struct Here<'d> {
    scanned: &'d Scanned,
    there: Option<&'d Listing>,
    dir: Option<Arc<OwnedFd>>,
    /// Its files can only be read so that it shows.
    pub(super) leaves_trace: bool,
}

impl Here<'_> {
    fn path(&self) -> &[u8] {
        &self.scanned.listing.path
    }

    /// Its handle; `None` in the transfer of one file.
    pub(super) fn dir(&mut self, origin: &mut Origin) -> Result<Option<Arc<OwnedFd>>, Code> {
        if self.dir.is_none()
            && let Origin::Tree(tree) = origin
        {
            self.dir = Some(tree.dir(&self.scanned.listing.path).map_err(code_of)?);
        }
        Ok(self.dir.clone())
    }

    /// What becomes of a file that is sent.
    fn change(&self, name: &[u8]) -> Change {
        let entries = self.there.map_or(&[][..], |there| &there.entries);
        let start = entries.partition_point(|old| *old.name < *name);
        let mut same_name = entries.iter().skip(start).take_while(|old| *old.name == *name);
        let is_file = |old: &Entry| matches!(old.what, What::File { .. });
        if same_name.any(is_file) { Change::Content } else { Change::New }
    }
}

impl Sender<'_> {
    /// The one name of the transfer of a file, as the only entry of a top that is otherwise unknown.
    pub(super) fn one(&mut self, name: &ByteString, filter: Filter) -> Option<Scanned> {
        let mut scanned = Scanned::unknown(filter);
        match self.one_entry(name) {
            Ok(entry) => scanned.listing.entries.push(entry),
            Err(code) => scanned.failed.push((name.as_bytes().to_vec(), code)),
        }
        Some(scanned)
    }

    fn one_entry(&mut self, name: &ByteString) -> Result<Entry, Code> {
        let (file, stat) = self.origin.open(name)?;
        let size = size_of_file(&stat);
        self.progress.found(1, size);
        let hash = self.options.checksum.then(|| self.look.hash_file(&file)).transpose()?;
        let hash = hash.map(Box::new);
        let name = name.as_bytes().into();
        Ok(Entry { name, what: What::File { size, hash }, meta: self.look.meta(&stat) })
    }

    /// Sends the directory that is next. False where the receiver must speak first, or there is none.
    pub(super) fn send_dir(&mut self) -> Result<bool, Stop> {
        let Some((scanned, there)) = self.window.take() else { return Ok(false) };
        for (path, code) in &scanned.failed {
            self.failed(path, *code)?;
        }
        if scanned.refused().is_some() && scanned.listing.entries.is_empty() {
            return Ok(true);
        }
        let path = &scanned.listing.path;
        let meta = (!self.is_file).then(|| scanned.meta.clone());
        self.packer.enter(path, meta);
        let there = match there {
            There::Same => {
                if path.is_empty() {
                    self.packer.announce();
                }
                return self.same(&scanned).map(|()| true);
            }
            There::Nothing | There::Asked(_) => None,
            There::Known(listing) => Some(self.without_excluded(listing, &scanned)),
        };
        self.check_deletes(&scanned, there.as_ref())?;
        let is_new = there.as_ref().is_none_or(|there| there.entries.is_empty());
        if !self.is_file && is_new && !path.is_empty() {
            self.watch.item(Change::Dir, path, 0);
        }
        if is_new || path.is_empty() {
            self.packer.announce();
        }
        let mut here =
            Here { scanned: &scanned, there: there.as_ref(), dir: None, leaves_trace: false };
        let mut result = Ok(());
        plan(&scanned.listing, there.as_ref(), self.options, &mut |action| {
            if result.is_ok() {
                result = self.act(&mut here, action);
            }
        });
        result.map(|()| true)
    }

    /// What the receiver has, without what is not to be touched there: what is excluded here, and
    /// what is here but can't be sent.
    fn without_excluded(&self, mut there: Listing, scanned: &Scanned) -> Listing {
        let path = &scanned.listing.path;
        let failed: HashSet<&[u8]> =
            scanned.failed.iter().map(|(failed, _)| split_last(failed).1).collect();
        there.entries.retain(|old| {
            let is_dir = matches!(old.what, What::Dir);
            !failed.contains(&*old.name) && !scanned.filter.excludes(path, &old.name, is_dir)
        });
        there
    }

    /// Refuses to delete everything because there is nothing.
    fn check_deletes(&self, scanned: &Scanned, there: Option<&Listing>) -> Result<(), Stop> {
        let would_empty = self.options.delete
            && !self.options.delete_all
            && !self.is_file
            && scanned.listing.path.is_empty()
            && scanned.listing.entries.is_empty()
            && there.is_some_and(|there| !there.entries.is_empty());
        if would_empty { Err(Refusal::new(Code::EmptySource).into()) } else { Ok(()) }
    }

    /// Nothing of the directory needs to be sent.
    fn same(&mut self, scanned: &Scanned) -> Result<(), Stop> {
        let (mut files, mut bytes) = (0, 0u64);
        for entry in &scanned.listing.entries {
            if let What::File { size, .. } = entry.what {
                files += 1;
                bytes = bytes.saturating_add(size);
                self.keep_link(scanned, &entry.name);
                self.after_record()?;
            }
        }
        self.packer.same(files, bytes);
        self.progress.reused(bytes);
        self.progress.files_done(files);
        self.after_record()
    }

    fn act(&mut self, here: &mut Here<'_>, action: Action<'_>) -> Result<(), Stop> {
        match action {
            Action::Keep(entry) => self.keep(here, entry),
            Action::Meta(entry) => {
                self.keep(here, entry);
                self.watch.item(Change::Meta, &join(here.path(), &entry.name), 0);
                let meta = entry.meta.clone();
                self.packer.record(&Record::Meta { name: &entry.name, meta });
            }
            Action::Send(entry) => return self.entry(here, entry),
            Action::Resume { entry, len } => {
                return self.later(here, entry, Wanted::pieces(len));
            }
            Action::Patch { entry, old_size } => {
                return self.later(here, entry, Wanted::blocks(old_size, self.seed));
            }
            // It has its own turn.
            Action::Dir { is_new: true, .. } => {}
            Action::Dir { entry, is_new: false } => {
                let path = join(here.path(), &entry.name);
                self.watch.item(Change::Meta, &path, 0);
                self.packer.dir_aside(&path, entry.meta.clone());
            }
            Action::Clear { name } | Action::Delete { name } => {
                self.watch.item(Change::Delete, &join(here.path(), name), 0);
                self.packer.record(&Record::Delete { name });
            }
        }
        self.after_record()
    }

    fn keep(&mut self, here: &Here<'_>, entry: &Entry) {
        if let What::File { size, .. } = entry.what {
            self.packer.same(1, size);
            self.progress.reused(size);
            self.progress.file_done();
            self.keep_link(here.scanned, &entry.name);
        }
    }

    fn after_record(&mut self) -> Result<(), Stop> {
        if self.packer.is_full() { self.flush() } else { Ok(()) }
    }

    /// Something that is new, or differs.
    fn entry(&mut self, here: &mut Here<'_>, entry: &Entry) -> Result<(), Stop> {
        let (name, meta) = (&*entry.name, entry.meta.clone());
        let (change, record) = match &entry.what {
            What::File { size, .. } => return self.file(here, entry, *size),
            What::Link { target } => (Change::Link, Record::Link { name, meta, target }),
            What::Special(device) => (Change::Special, special(name, meta, *device)),
            What::Dir | What::Part { .. } => return Ok(()),
        };
        self.watch.item(change, &join(here.path(), name), 0);
        self.packer.record(&record);
        self.after_record()
    }

    fn file(&mut self, here: &mut Here<'_>, entry: &Entry, size: u64) -> Result<(), Stop> {
        if self.as_link(here, entry, size) {
            return self.after_record();
        }
        let (name, change) = (&*entry.name, here.change(&entry.name));
        if self.options.dry_run {
            let path = join(here.path(), name);
            self.watch.item(change, &path, size);
            self.remember_link(here.scanned, name);
            if size > INLINE_MAX {
                return self.pretend_large(&path, entry);
            }
            let meta = entry.meta.clone();
            self.packer.record(&Record::File { name, meta, content: &[] });
            return self.after_record();
        }
        let small = if size > INLINE_MAX { Small::Large } else { self.small(here, name) };
        match small {
            Small::Packed(size) => {
                self.watch.item(change, &join(here.path(), name), size);
                self.progress.moved(size);
                self.progress.file_done();
                self.remember_link(here.scanned, name);
                self.after_record()
            }
            Small::Large => {
                self.packer.announce();
                self.remember_link(here.scanned, name);
                self.large(&join(here.path(), name), change, Way::Whole)
            }
            Small::Failed(code) => self.failed(&join(here.path(), name), code),
        }
    }

    /// A file of which something is there.
    fn later(&mut self, here: &mut Here<'_>, entry: &Entry, wanted: Wanted) -> Result<(), Stop> {
        let What::File { size, .. } = entry.what else { return Ok(()) };
        if self.options.dry_run {
            return self.file(here, entry, size);
        }
        if self.as_link(here, entry, size) {
            return self.after_record();
        }
        // The time of the directory is to be set after it, and is not known later.
        self.packer.announce();
        self.remember_link(here.scanned, &entry.name);
        let change = here.change(&entry.name);
        self.set_aside(join(here.path(), &entry.name), change, wanted)
    }

    /// Sends a file as another name of one that was sent, or is there: true if it is that.
    fn as_link(&mut self, here: &Here<'_>, entry: &Entry, size: u64) -> bool {
        let id = here.scanned.file_id(&entry.name);
        let Some(path) = id.and_then(|id| self.linked.get(&id)) else { return false };
        self.packer.record(&Record::Hard { name: &entry.name, path });
        self.watch.item(Change::Hard, &join(here.path(), &entry.name), 0);
        self.progress.reused(size);
        self.progress.file_done();
        true
    }

    /// A file that is there already: where it is another name of one that is there too, or will be,
    /// the two may be two over there.
    fn keep_link(&mut self, scanned: &Scanned, name: &[u8]) {
        let known = scanned.file_id(name).and_then(|id| self.linked.get(&id));
        match known {
            Some(path) => self.packer.hard_aside(name, path),
            None => self.remember_link(scanned, name),
        }
    }

    fn remember_link(&mut self, scanned: &Scanned, name: &[u8]) {
        if let Some(id) = scanned.file_id(name)
            && self.linked.len() < LINKS_MAX
        {
            self.linked.entry(id).or_insert_with(|| join(&scanned.listing.path, name));
        }
    }
}

fn special<'a>(name: &'a [u8], meta: Meta, device: tow_proto::transfer::Device) -> Record<'a> {
    Record::Special { name, meta, device }
}

/// Files with several names that are remembered; the names of others are sent as files of their own.
const LINKS_MAX: usize = 200_000;
