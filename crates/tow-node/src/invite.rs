//! Invitations: a code to type and a ticket to pass on, each good once and for a short time
//! (PROTOCOL 5).
//!
//! They live in memory only, so a node that was restarted has none. Time comes in as an argument. The
//! code never leaves this module but to be shown: a guess is checked here, and counted here.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::rand;
use thiserror::Error;
use tow_proto::message::Rights;
use tow_proto::{Code, Refusal};
use zeroize::{Zeroize as _, ZeroizeOnDrop};

use crate::base32;
use crate::identity::KeyId;
use crate::pake::{self, Ids, NodeJoin, PakeError};
use crate::ticket::{ProofKey, TicketSecret};

/// What whoever takes up an invitation will be granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The key that invited, which has to be known still; `None` for the owner.
    pub giver: Option<KeyId>,
    /// What the device may do.
    pub rights: Rights,
    /// The directory that its files are confined to; absolute and resolved.
    pub root: PathBuf,
    /// The directory that its relative paths start from.
    pub start: PathBuf,
    /// What to call the device; what it calls itself where there is none.
    pub name: Option<String>,
    /// When the grant ends.
    pub expires: Option<SystemTime>,
}

/// A fresh invitation: the only time that its secrets are in one place.
#[derive(Clone, Debug)]
pub struct Issued {
    /// To be typed.
    pub code: JoinCode,
    /// To be put into a [`crate::ticket::Ticket`].
    pub secret: TicketSecret,
    /// When both end, by the wall clock.
    pub expires: SystemTime,
}

/// A code: eight characters of Crockford's base32, 40 random bits.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinCode([u8; CODE_LEN]);

/// Why a text can't be a code. No guess is spent on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadJoinCode {
    /// Too few or too many characters.
    #[error("a code has {CODE_LEN} characters, this one has {len}")]
    WrongLength {
        /// How many it has, without dashes and spaces.
        len: usize,
    },
    /// A character that codes do not have.
    #[error("a code has no '{}'; it is made of digits and letters without I, L, O and U", char.escape_default())]
    BadChar {
        /// The character.
        char: char,
    },
}

/// All invitations of a node; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Invitations(Arc<Mutex<Book>>);

/// The place of the one who is guessing now; free again when dropped.
#[derive(Debug)]
pub struct Guess {
    invitations: Invitations,
    id: u64,
    code: JoinCode,
}

/// A guess that was answered: spent, unless the right confirmation follows.
#[derive(Debug)]
pub struct AnsweredGuess {
    guess: Guess,
    join: NodeJoin,
}

impl Invitations {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Invites: the code of an older invitation is void from now on, its ticket is not. `now` and
    /// `wall` are the same moment by both clocks.
    ///
    /// # Errors
    /// `TooLong` when there are [`INVITATIONS_MAX`] or `valid` is over [`VALID_MAX`], `BadArgument`
    /// when it is nothing, `Internal` when the system has no randomness.
    pub fn invite(
        &self,
        offer: Offer,
        valid: Duration,
        now: Instant,
        wall: SystemTime,
    ) -> Result<Issued, Refusal> {
        if valid.is_zero() {
            return Err(Code::BadArgument.into());
        }
        if valid > VALID_MAX {
            return Err(Refusal::new(Code::TooLong).with_count(VALID_MAX.as_secs()));
        }
        let code = JoinCode::random().ok_or(Code::Internal)?;
        let secret = TicketSecret::random().ok_or(Code::Internal)?;
        let proof_key = secret.proof_key();
        self.book(now).add(offer, code.clone(), proof_key, now + valid)?;
        Ok(Issued { code, secret, expires: wall + valid })
    }

    /// Takes the one place for guessing the code.
    ///
    /// # Errors
    /// `JoinBusy`, or what became of the latest code.
    pub fn guess(&self, now: Instant) -> Result<Guess, Refusal> {
        let (id, code) = self.book(now).take_place()?;
        Ok(Guess { invitations: self.clone(), id, code })
    }

    /// Takes up an invitation by a ticket's proof, and ends it.
    ///
    /// # Errors
    /// `WrongCode`, `NoInvitation`, or what became of that ticket.
    pub fn redeem(
        &self,
        proof: &[u8],
        ids: &Ids,
        exporter: &[u8; 32],
        now: Instant,
    ) -> Result<Offer, Refusal> {
        self.book(now).redeem(|key| key.accepts(proof, ids, exporter))
    }

    /// Takes up an invitation by a ticket's secret itself, and ends it: a browser has no channel to bind
    /// a proof to.
    ///
    /// # Errors
    /// As of [`Self::redeem`].
    pub fn redeem_secret(&self, secret: &TicketSecret, now: Instant) -> Result<Offer, Refusal> {
        let shown = secret.proof_key();
        self.book(now).redeem(|key| key.is(&shown))
    }

    /// How many invitations are open.
    pub fn open(&self, now: Instant) -> usize {
        self.book(now).live.len()
    }

    /// The book, as it is at `now`.
    fn book(&self, now: Instant) -> MutexGuard<'_, Book> {
        let mut book = self.lock();
        book.expire(now);
        book
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        // Nothing in here panics half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guess {
    /// Answers the client's first message: the answer and the guess that it cost.
    ///
    /// # Errors
    /// `Malformed`; the guess is not spent then.
    pub fn answer(
        self,
        ids: Ids,
        client_message: &[u8],
    ) -> Result<(AnsweredGuess, [u8; pake::MESSAGE_LEN]), Refusal> {
        let (join, message) =
            pake::answer(&self.code, ids, client_message).map_err(|_| Code::Malformed)?;
        self.invitations.lock().spend_guess(self.id);
        Ok((AnsweredGuess { guess: self, join }, message))
    }
}

impl AnsweredGuess {
    /// Checks the client's confirmation. The right one ends the invitation, and gives what is granted
    /// and our own confirmation.
    ///
    /// # Errors
    /// `WrongCode` with the guesses that are left, `SpentCode`, or what became of the invitation in the
    /// meantime.
    pub fn verify(
        self,
        confirm: &[u8],
        exporter: &[u8; 32],
        now: Instant,
    ) -> Result<(Offer, [u8; pake::CONFIRM_LEN]), Refusal> {
        let Self { guess, join } = self;
        let verified = join.verify(confirm, exporter);
        let mut book = guess.invitations.book(now);
        match verified {
            Ok(own) => Ok((book.take_up_code(guess.id)?, own)),
            Err(PakeError::NotConfirmed | PakeError::Malformed) => Err(book.wrong_guess(guess.id)),
        }
    }
}

impl Drop for Guess {
    fn drop(&mut self) {
        self.invitations.lock().leave_place();
    }
}

/// Everything that is open, and what became of what was.
#[derive(Debug, Default)]
struct Book {
    live: Vec<Invitation>,
    /// The newest ones that ended, so that their tickets can be told apart from wrong ones.
    ended: VecDeque<(ProofKey, Fate)>,
    code: CodeState,
    is_guessing: bool,
    last_id: u64,
}

#[derive(Debug)]
struct Invitation {
    id: u64,
    offer: Offer,
    proof_key: ProofKey,
    ends: Instant,
}

/// The latest code: there is only one, so that guesses can't be spread over many.
#[derive(Debug, Default)]
enum CodeState {
    #[default]
    Never,
    Live {
        invitation: u64,
        code: JoinCode,
        guesses_left: u64,
    },
    Gone(Fate),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Used,
    Expired,
    Spent,
}

impl Book {
    fn add(
        &mut self,
        offer: Offer,
        code: JoinCode,
        proof_key: ProofKey,
        ends: Instant,
    ) -> Result<(), Refusal> {
        if self.live.len() >= INVITATIONS_MAX {
            return Err(Refusal::new(Code::TooLong).with_count(INVITATIONS_MAX as u64));
        }
        self.last_id += 1;
        let id = self.last_id;
        self.live.push(Invitation { id, offer, proof_key, ends });
        self.code = CodeState::Live { invitation: id, code, guesses_left: GUESSES_MAX };
        Ok(())
    }

    fn expire(&mut self, now: Instant) {
        let expired: Vec<u64> =
            self.live.iter().filter(|one| now >= one.ends).map(|one| one.id).collect();
        for id in expired {
            self.end(id, Fate::Expired);
        }
    }

    /// Ends an invitation, its code and its ticket, if it has not ended yet.
    fn end(&mut self, id: u64, fate: Fate) -> Option<Offer> {
        let at = self.live.iter().position(|one| one.id == id)?;
        let Invitation { offer, proof_key, .. } = self.live.remove(at);
        self.ended.push_front((proof_key, fate));
        self.ended.truncate(INVITATIONS_MAX);
        if matches!(self.code, CodeState::Live { invitation, .. } if invitation == id) {
            self.code = CodeState::Gone(fate);
        }
        Some(offer)
    }

    fn take_place(&mut self) -> Result<(u64, JoinCode), Refusal> {
        match &self.code {
            CodeState::Never => Err(Code::NoInvitation.into()),
            CodeState::Gone(fate) => Err(fate.refusal()),
            CodeState::Live { .. } if self.is_guessing => Err(Code::JoinBusy.into()),
            CodeState::Live { invitation, code, .. } => {
                let place = (*invitation, code.clone());
                self.is_guessing = true;
                Ok(place)
            }
        }
    }

    /// Counts a guess at the code of invitation `id`, if that code still is the one.
    fn spend_guess(&mut self, id: u64) {
        if let CodeState::Live { invitation, guesses_left, .. } = &mut self.code
            && *invitation == id
        {
            *guesses_left = guesses_left.saturating_sub(1);
        }
    }

    /// Gives the place free. A last guess that was not right, or not followed up, ends the code.
    fn leave_place(&mut self) {
        self.is_guessing = false;
        if matches!(self.code, CodeState::Live { guesses_left: 0, .. }) {
            self.code = CodeState::Gone(Fate::Spent);
        }
    }

    fn wrong_guess(&self, id: u64) -> Refusal {
        match self.guesses_left(id) {
            Ok(0) => Fate::Spent.refusal(),
            Ok(left) => Refusal::new(Code::WrongCode).with_count(left),
            Err(refusal) => refusal,
        }
    }

    fn take_up_code(&mut self, id: u64) -> Result<Offer, Refusal> {
        self.guesses_left(id)?;
        self.end(id, Fate::Used).ok_or_else(|| Code::Internal.into())
    }

    /// How many guesses there are at the code of invitation `id`, or what became of it.
    fn guesses_left(&self, id: u64) -> Result<u64, Refusal> {
        match &self.code {
            CodeState::Live { invitation, guesses_left, .. } if *invitation == id => {
                Ok(*guesses_left)
            }
            CodeState::Gone(fate) => Err(fate.refusal()),
            // A newer invitation voided this code while it was being proved.
            CodeState::Live { .. } | CodeState::Never => Err(Code::ExpiredCode.into()),
        }
    }

    fn redeem(&mut self, is_proved: impl Fn(&ProofKey) -> bool) -> Result<Offer, Refusal> {
        if let Some(id) = self.live.iter().find(|one| is_proved(&one.proof_key)).map(|one| one.id) {
            return self.end(id, Fate::Used).ok_or_else(|| Code::Internal.into());
        }
        if let Some((_, fate)) = self.ended.iter().find(|(key, _)| is_proved(key)) {
            return Err(fate.refusal());
        }
        if self.live.is_empty() {
            return Err(Code::NoInvitation.into());
        }
        Err(Refusal { retry: false, ..Code::WrongCode.into() })
    }
}

impl Fate {
    fn refusal(self) -> Refusal {
        match self {
            Self::Used => Code::UsedCode.into(),
            Self::Expired => Code::ExpiredCode.into(),
            Self::Spent => Code::SpentCode.into(),
        }
    }
}

impl JoinCode {
    /// The code that a person typed: either case, with or without dashes and spaces, O for 0, I and
    /// L for 1.
    ///
    /// # Errors
    /// It can't be a code.
    pub fn parse(text: &str) -> Result<Self, BadJoinCode> {
        let typed = text.chars().filter(|char| !is_dash(*char) && !char.is_whitespace());
        let mut code = [0; CODE_LEN];
        let mut len = 0;
        for char in typed {
            let canonical = base32::canonical(char).ok_or(BadJoinCode::BadChar { char })?;
            if let Some(place) = code.get_mut(len) {
                *place = canonical;
            }
            len += 1;
        }
        if len == CODE_LEN { Ok(Self(code)) } else { Err(BadJoinCode::WrongLength { len }) }
    }

    /// The text to be shown, `XXXX-XXXX`. It is a secret, so there is no `Display`.
    pub fn to_text(&self) -> String {
        let (first, second) = self.0.split_at(CODE_LEN / 2);
        format!("{}-{}", String::from_utf8_lossy(first), String::from_utf8_lossy(second))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn random() -> Option<Self> {
        let mut bits = [0; CODE_LEN * 5 / 8];
        rand::fill(&mut bits).ok()?;
        base32::encode(&bits).as_bytes().try_into().ok().map(Self)
    }
}

/// Also those that a chat program makes of a hyphen.
fn is_dash(char: char) -> bool {
    matches!(char, '-' | '\u{2010}'..='\u{2015}')
}

impl Drop for JoinCode {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for JoinCode {}

impl fmt::Debug for JoinCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinCode(…)")
    }
}

/// Most invitations that are open at a time.
pub const INVITATIONS_MAX: usize = 64;
/// Guesses at one code.
pub const GUESSES_MAX: u64 = 3;
/// The longest that an invitation is good for.
pub const VALID_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Characters of a code, without its dash.
pub const CODE_LEN: usize = 8;

#[cfg(test)]
#[path = "invite_tests.rs"]
mod tests;
