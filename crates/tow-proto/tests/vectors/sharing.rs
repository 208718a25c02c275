//! The messages of PROTOCOL 7.8 that `vectors/heads.json` names, as values.

use tow_proto::message::{
    Reply, Request, Rights, Share, ShareInfo, ShareReply, ShareRm, Shared, Shares, Token,
    TokenReply,
};

use crate::messages::{Message, message};

pub(crate) fn messages() -> Vec<Message> {
    let request = |name, request: Request| message("Request", name, request);
    let read = Rights { read: true, ..Rights::default() };
    let watch = Rights { watch: true, ..Rights::default() };
    let token =
        Token { rights: read, root: Some("/srv".into()), name: None, grant_secs: Some(86_400) };
    let share = Share { what: Shared::Path("photos".into()), rights: read, secs: 86_400 };
    let session = Share { what: Shared::Session("s1".into()), rights: watch, secs: 600 };
    let info = ShareInfo {
        id: "nam3-sc6y".into(),
        what: Shared::Path("/home/me/photos".into()),
        rights: read,
        expires: 1_700_000_000,
        giver: None,
        open: 1,
    };
    vec![
        request("token", Request::Token(token)),
        request("share", Request::Share(share)),
        request("share-session", Request::Share(session)),
        request("shares", Request::Shares),
        request("share-rm", Request::ShareRm(ShareRm { share: "nam3".into() })),
        message(
            "Reply<TokenReply>",
            "token-ok",
            Reply::Ok(TokenReply {
                token: "towt_AAAA".into(),
                id: "nam3-sc6y".into(),
                root: "/srv".into(),
                addresses: vec!["192.0.2.1:8690".into()],
            }),
        ),
        message(
            "Reply<ShareReply>",
            "share-ok",
            Reply::Ok(ShareReply {
                id: "nam3-sc6y".into(),
                link: "https://192.0.2.1:8690/#tows1.AAAA".into(),
                expires: 1_700_000_000,
            }),
        ),
        message(
            "Reply<Shares>",
            "shares-ok",
            Reply::Ok(Shares { shares: vec![info], more: false }),
        ),
    ]
}
