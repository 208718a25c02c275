//! The life of an invitation, in virtual time.

use super::*;
use crate::grant::Right;
use crate::identity::PublicKey;
use crate::pake::CONFIRM_LEN;

const MINUTES: Duration = Duration::from_secs(600);
const CHANNEL: [u8; 32] = [1; 32];

fn ids() -> Ids {
    Ids { client: PublicKey::from_bytes([1; 32]), node: PublicKey::from_bytes([2; 32]) }
}

fn offer(name: &str) -> Offer {
    Offer {
        giver: None,
        rights: Right::all(),
        root: "/".into(),
        start: "/home/ann".into(),
        name: Some(name.to_owned()),
        expires: None,
    }
}

struct World {
    invitations: Invitations,
    now: Instant,
}

impl World {
    fn new() -> Self {
        Self { invitations: Invitations::new(), now: Instant::now() }
    }

    fn invite(&self, name: &str) -> Issued {
        let wall = SystemTime::UNIX_EPOCH;
        self.invitations.invite(offer(name), MINUTES, self.now, wall).unwrap()
    }

    /// A whole join by code, as a client with `code` sees it.
    fn join(&self, code: &JoinCode) -> Result<Offer, Code> {
        let (client, message) = pake::start(code, ids());
        let refused = |refusal: Refusal| refusal.code;
        let guess = self.invitations.guess(self.now).map_err(refused)?;
        let (answered, reply) = guess.answer(ids(), &message).map_err(refused)?;
        let (confirm, expected) = client.finish(&reply, &CHANNEL).unwrap();
        let (offer, own) = answered.verify(&confirm, &CHANNEL, self.now).map_err(refused)?;
        expected.verify(&own).unwrap();
        Ok(offer)
    }

    fn redeem(&self, secret: &TicketSecret) -> Result<Offer, Code> {
        let proof = secret.proof_key().prove(&ids(), &CHANNEL);
        let redeemed = self.invitations.redeem(&proof, &ids(), &CHANNEL, self.now);
        redeemed.map_err(|refusal| refusal.code)
    }

    fn wrong_guess(&self) -> Refusal {
        let guess = self.invitations.guess(self.now).unwrap();
        let (_, message) = pake::start(&wrong_code(), ids());
        let (answered, _) = guess.answer(ids(), &message).unwrap();
        answered.verify(&[0; CONFIRM_LEN], &CHANNEL, self.now).unwrap_err()
    }
}

/// Right once in 2^40 runs.
fn wrong_code() -> JoinCode {
    JoinCode::parse("0000-0000").unwrap()
}

#[test]
fn the_right_code_is_good_once() {
    let world = World::new();
    let issued = world.invite("laptop");
    assert_eq!(world.join(&issued.code), Ok(offer("laptop")));
    assert_eq!(world.join(&issued.code), Err(Code::UsedCode));
    assert_eq!(world.redeem(&issued.secret), Err(Code::UsedCode), "the ticket ends with the code");
    assert_eq!(world.invitations.open(world.now), 0);
}

#[test]
fn the_right_ticket_is_good_once() {
    let world = World::new();
    let issued = world.invite("laptop");
    assert_eq!(world.redeem(&issued.secret), Ok(offer("laptop")));
    assert_eq!(world.redeem(&issued.secret), Err(Code::UsedCode));
    assert_eq!(world.join(&issued.code), Err(Code::UsedCode), "the code ends with the ticket");
}

#[test]
fn without_an_invitation_there_is_nothing_to_guess() {
    let world = World::new();
    assert_eq!(world.join(&wrong_code()), Err(Code::NoInvitation));
    assert_eq!(world.redeem(&TicketSecret::random().unwrap()), Err(Code::NoInvitation));
}

#[test]
fn an_invitation_ends_on_time_by_the_clock_that_nobody_sets() {
    let mut world = World::new();
    let issued = world.invite("laptop");
    assert_eq!(issued.expires, SystemTime::UNIX_EPOCH + MINUTES);
    world.now += MINUTES - Duration::from_millis(1);
    assert_eq!(world.invitations.open(world.now), 1);
    world.now += Duration::from_millis(1);
    assert_eq!(world.join(&issued.code), Err(Code::ExpiredCode));
    assert_eq!(world.redeem(&issued.secret), Err(Code::ExpiredCode));
    assert_eq!(world.invitations.open(world.now), 0);
}

#[test]
fn three_wrong_guesses_void_the_code_but_not_the_ticket() {
    let world = World::new();
    let issued = world.invite("laptop");
    let first = world.wrong_guess();
    assert_eq!((first.code, first.count), (Code::WrongCode, Some(2)));
    let second = world.wrong_guess();
    assert_eq!((second.code, second.count), (Code::WrongCode, Some(1)));
    assert_eq!(world.wrong_guess().code, Code::SpentCode);
    assert_eq!(world.join(&issued.code), Err(Code::SpentCode));
    assert_eq!(world.redeem(&issued.secret), Ok(offer("laptop")));
}

#[test]
fn the_third_guess_may_be_the_right_one() {
    let world = World::new();
    let issued = world.invite("laptop");
    world.wrong_guess();
    world.wrong_guess();
    assert_eq!(world.join(&issued.code), Ok(offer("laptop")));
}

#[test]
fn who_goes_away_after_the_answer_has_spent_the_guess() {
    let world = World::new();
    let issued = world.invite("laptop");
    for _ in 0..GUESSES_MAX {
        let guess = world.invitations.guess(world.now).unwrap();
        let (_, message) = pake::start(&wrong_code(), ids());
        drop(guess.answer(ids(), &message).unwrap());
    }
    assert_eq!(world.join(&issued.code), Err(Code::SpentCode));
}

#[test]
fn a_malformed_message_spends_no_guess_and_leaves_the_place() {
    let world = World::new();
    let issued = world.invite("laptop");
    for _ in 0..10 {
        let guess = world.invitations.guess(world.now).unwrap();
        assert_eq!(guess.answer(ids(), &[0x41; 33]).unwrap_err().code, Code::Malformed);
    }
    assert_eq!(world.join(&issued.code), Ok(offer("laptop")));
}

#[test]
fn one_guesses_at_a_time() {
    let world = World::new();
    let issued = world.invite("laptop");
    let place = world.invitations.guess(world.now).unwrap();
    let busy = world.invitations.guess(world.now).unwrap_err();
    assert_eq!((busy.code, busy.retry), (Code::JoinBusy, true));
    drop(place);
    assert_eq!(world.join(&issued.code), Ok(offer("laptop")));
}

#[test]
fn a_newer_invitation_voids_the_older_code_but_not_its_ticket() {
    let world = World::new();
    let older = world.invite("older");
    let newer = world.invite("newer");
    assert_eq!(world.join(&older.code), Err(Code::WrongCode));
    assert_eq!(world.redeem(&older.secret), Ok(offer("older")));
    assert_eq!(world.join(&newer.code), Ok(offer("newer")), "one guess was left to it");
}

#[test]
fn a_code_that_is_replaced_while_it_is_proved_is_void() {
    let world = World::new();
    let older = world.invite("older");
    let (client, message) = pake::start(&older.code, ids());
    let guess = world.invitations.guess(world.now).unwrap();
    let (answered, reply) = guess.answer(ids(), &message).unwrap();
    let newer = world.invite("newer");
    let (confirm, _) = client.finish(&reply, &CHANNEL).unwrap();
    let refused = answered.verify(&confirm, &CHANNEL, world.now).unwrap_err();
    assert_eq!(refused.code, Code::ExpiredCode);
    for left in [2, 1] {
        assert_eq!(world.wrong_guess().count, Some(left), "the newer code has all its guesses");
    }
    assert_eq!(world.join(&newer.code), Ok(offer("newer")));
}

#[test]
fn an_invitation_that_ends_while_it_is_proved_has_ended() {
    let mut world = World::new();
    let issued = world.invite("laptop");
    let (client, message) = pake::start(&issued.code, ids());
    let guess = world.invitations.guess(world.now).unwrap();
    let (answered, reply) = guess.answer(ids(), &message).unwrap();
    let (confirm, _) = client.finish(&reply, &CHANNEL).unwrap();
    world.now += MINUTES;
    let refused = answered.verify(&confirm, &CHANNEL, world.now).unwrap_err();
    assert_eq!(refused.code, Code::ExpiredCode);
}

#[test]
fn a_wrong_ticket_is_refused_and_costs_no_guess() {
    let world = World::new();
    let issued = world.invite("laptop");
    for _ in 0..10 {
        assert_eq!(world.redeem(&TicketSecret::random().unwrap()), Err(Code::WrongCode));
    }
    let short = world.invitations.redeem(&[], &ids(), &CHANNEL, world.now).unwrap_err();
    assert_eq!((short.code, short.retry), (Code::WrongCode, false));
    assert_eq!(world.wrong_guess().count, Some(2));
    assert_eq!(world.join(&issued.code), Ok(offer("laptop")));
}

#[test]
fn there_is_a_limit_to_open_invitations_and_to_their_time() {
    let world = World::new();
    for at in 0..INVITATIONS_MAX {
        world.invite(&format!("device-{at}"));
    }
    let wall = SystemTime::UNIX_EPOCH;
    let invite = |valid| world.invitations.invite(offer("more"), valid, world.now, wall);
    let refused = invite(MINUTES).unwrap_err();
    assert_eq!((refused.code, refused.count), (Code::TooLong, Some(INVITATIONS_MAX as u64)));
    assert_eq!(invite(Duration::ZERO).unwrap_err().code, Code::BadArgument);
    assert_eq!(invite(VALID_MAX + Duration::from_nanos(1)).unwrap_err().code, Code::TooLong);
    assert_eq!(world.invitations.open(world.now + MINUTES), 0);
}

#[test]
fn a_code_is_read_as_people_type_it() {
    let code = JoinCode::parse("1K0M-9QWX").unwrap();
    for text in ["1k0m9qwx", "lKoM 9qwx", "IKOM-9QWX", " 1-K-0-M-9-Q-W-X\n", "1k0m\u{2013}9qwx"] {
        assert_eq!(JoinCode::parse(text), Ok(code.clone()), "{text}");
    }
    assert_eq!(code.to_text(), "1K0M-9QWX");
}

#[test]
fn what_can_not_be_a_code_is_said_before_a_guess_is_spent() {
    for (text, error) in [
        ("", BadJoinCode::WrongLength { len: 0 }),
        ("1K0M-9QW", BadJoinCode::WrongLength { len: 7 }),
        ("1K0M-9QWXX", BadJoinCode::WrongLength { len: 9 }),
        ("1K0M-9QWU", BadJoinCode::BadChar { char: 'U' }),
        ("1K0M_9QWX", BadJoinCode::BadChar { char: '_' }),
        ("1K0M-9QW\u{1b}", BadJoinCode::BadChar { char: '\u{1b}' }),
    ] {
        assert_eq!(JoinCode::parse(text), Err(error), "{text:?}");
    }
    let message = BadJoinCode::BadChar { char: '\u{1b}' }.to_string();
    assert!(!message.contains('\u{1b}'), "{message}");
}

#[test]
fn codes_are_random_and_can_be_read_again() {
    let codes: Vec<_> = (0..50).map(|_| JoinCode::random().unwrap().to_text()).collect();
    for (at, text) in codes.iter().enumerate() {
        assert_eq!(JoinCode::parse(text).unwrap().to_text(), *text);
        assert!(!codes[..at].contains(text));
        assert_eq!(text.len(), CODE_LEN + 1);
    }
}
