//! `GET`, `HEAD` and `PUT`: by the handlers of the API, after the locks have been asked.

use axum::body::Body;
use axum::extract::{Extension, Request};
use axum::http::{HeaderValue, Response, StatusCode, Uri, header};
use axum::response::IntoResponse as _;
use tow_node::ask::ls::{Depth, ls};
use tow_node::ask::stat::Links;
use tow_proto::message::EntryKind;

use super::Call;
use super::answer::{Halt, Outcome};
use super::locks::Reach;
use crate::files;
use crate::path::encode;

pub(super) async fn get(call: Call) -> Outcome {
    let stat = call.target.place.stat(Links::Follow).await?;
    if stat.kind == EntryKind::Dir {
        return listing(&call).await;
    }
    let uri = api(&call, "inline")?;
    let request = request(&call, uri, Body::empty());
    Ok(files::get_content(Extension(call.connection), call.guest, request).await?)
}

/// Names, one in a line: for people and for scripts. Programs ask with `PROPFIND`.
async fn listing(call: &Call) -> Outcome {
    let mut names = String::new();
    let machine = &call.target.place.machine;
    let mut connection = machine.connect().await?;
    ls(&mut connection, call.target.on_machine(), Depth::Inside, |entries| {
        for entry in entries {
            names.push_str(&encode(entry.name.as_bytes()));
            names.push_str(if entry.kind == EntryKind::Dir { "/\n" } else { "\n" });
        }
    })
    .await?;
    machine.keep(connection);
    let mut response = Response::new(Body::from(names));
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

pub(super) async fn put(call: Call, body: Body) -> Outcome {
    // A lock of the directory is about its names: a new content is no new name.
    let is_there = matches!(call.target.place.look(Links::Show).await, Ok(Some(_)));
    let reach = if is_there { Reach::Itself } else { Reach::Name };
    if let Err(halt) = call.may_change(&[(&call.target.key, reach)]).await {
        return Ok(closing(halt.into_response()));
    }
    // Programs that synchronise say so how old the content is.
    let mtime = call.header("x-oc-mtime")?.map(str::trim).filter(|time| is_number(time));
    let query = mtime.map(|time| format!("mtime={time}")).unwrap_or_default();
    let uri = api(&call, &query)?;
    let request = request(&call, uri, body);
    let mut response =
        files::put_content(Extension(call.connection), call.guest, request).await.into_response();
    match response.status() {
        // WebDAV says of a missing directory what elsewhere is said of a missing file.
        StatusCode::NOT_FOUND => return Ok(closing(Halt::NO_PARENT.into_response())),
        StatusCode::CREATED | StatusCode::NO_CONTENT if !query.is_empty() => {
            response.headers_mut().insert("x-oc-mtime", HeaderValue::from_static("accepted"));
        }
        _ => {}
    }
    Ok(response)
}

/// The same place in the API.
fn api(call: &Call, query: &str) -> Result<Uri, Halt> {
    let path = encode(&call.target.path);
    format!("{}{path}?{query}", files::FILES).parse().map_err(|_| Halt::BAD)
}

fn request(call: &Call, uri: Uri, body: Body) -> Request {
    let mut request = Request::new(body);
    *request.method_mut() = call.parts.method.clone();
    *request.uri_mut() = uri;
    request.headers_mut().clone_from(&call.parts.headers);
    request
}

/// What is left of the body is not waited for.
fn closing(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn is_number(text: &str) -> bool {
    let (secs, fraction) = text.split_once('.').unwrap_or((text, "0"));
    [secs.strip_prefix('-').unwrap_or(secs), fraction].iter().all(|part| {
        (1..=12).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    })
}
