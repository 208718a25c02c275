//! Heads of transfers survive their way, whatever they say (PROTOCOL 7.3).

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tow_proto::json;
use tow_proto::message::{Failure, Get, Put, Summary};
use tow_proto::transfer::{Compress, Durable, Event, Options, Question};

use super::{any_kind, any_name, any_offset, any_refusal};

proptest! {
    #[test]
    fn every_head_of_a_transfer_survives(event in any_event()) {
        prop_assert_eq!(json::from_slice::<Event>(&json::to_vec(&event))?, event);
    }

    #[test]
    fn a_question_is_the_event_that_it_came_in(event in any_event()) {
        let asks = matches!(event, Event::List { .. } | Event::Pieces { .. } | Event::Blocks { .. });
        let question = event.question();
        prop_assert_eq!(question.is_some(), asks);
        prop_assert!(question.is_none_or(|question: Question| Event::from(question) == event));
    }
}

pub(crate) fn any_get() -> impl Strategy<Value = Get> {
    (any_name(), any_options()).prop_map(|(path, options)| Get { path, options })
}

pub(crate) fn any_put() -> impl Strategy<Value = Put> {
    (any_name(), any_kind(), any_name(), any_name(), any_options())
        .prop_map(|(path, kind, name, source, options)| Put { path, kind, name, source, options })
}

pub(crate) fn any_summary() -> impl Strategy<Value = Summary> {
    any::<[u64; 11]>().prop_map(|of| Summary {
        files: of[0],
        patched: of[1],
        same: of[2],
        dirs: of[3],
        links: of[4],
        hard_links: of[5],
        special: of[6],
        deleted: of[7],
        bytes: of[8],
        reused: of[9],
        failed: of[10],
    })
}

fn any_options() -> impl Strategy<Value = Options> {
    let durable = prop::sample::select(vec![Durable::None, Durable::Batch, Durable::File]);
    let compress = prop::sample::select(vec![Compress::Auto, Compress::Never, Compress::Always]);
    let numbers = (option::of(any_offset()), option::of(any_offset()));
    let paths = (vec(any_name(), 0..3), option::of(any_name()));
    (any::<[bool; 9]>(), numbers, paths, durable, compress).prop_map(
        |(is, (max_delete, bwlimit), (exclude, backup), durable, compress)| Options {
            exact: is[0],
            checksum: is[1],
            delete: is[2],
            max_delete,
            delete_all: is[3],
            dry_run: is[4],
            exclude,
            gitignore: is[5],
            backup,
            archive: is[6],
            special: is[7],
            durable,
            whole: is[8],
            compress,
            bwlimit,
        },
    )
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (any_offset(), any_offset()).prop_map(|(files, bytes)| Event::Plan { files, bytes }),
        vec(any_name(), 0..4).prop_map(|paths| Event::List { paths }),
        any_name().prop_map(|path| Event::Pieces { path }),
        (any_name(), any::<u32>(), any_offset()).prop_map(|(path, len, seed)| Event::Blocks {
            path,
            len,
            seed
        }),
        any_offset().prop_map(|offset| Event::At { offset }),
        any_offset().prop_map(|len| Event::Hole { len }),
        (any_name(), any_refusal(), any::<bool>())
            .prop_map(|(path, why, again)| Event::Failed(Failure { path, why, again })),
        any_summary().prop_map(Event::Stored),
        prop::sample::select(vec![Event::HaveEnd, Event::Break, Event::Finish, Event::Unknown]),
    ]
}
