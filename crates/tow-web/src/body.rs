//! Bodies of requests: how slow they may be, how long, and JSON.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::answer::Failure;

/// Gives every request a body that has to come at [`PACE_LEN`] bytes in any [`PACE`].
pub(crate) fn pace(request: Request) -> Request {
    request.map(|body| match hyper::body::Body::is_end_stream(&body) {
        true => body,
        false => Body::new(Paced { body, window: None, came: 0 }),
    })
}

/// Its sender does not send.
#[derive(Debug)]
struct TooSlow;

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body came too slowly")
    }
}

impl std::error::Error for TooSlow {}

struct Paced {
    body: Body,
    /// Set while the body is waited for.
    window: Option<Pin<Box<Sleep>>>,
    /// Bytes since the window began.
    came: usize,
}

impl hyper::body::Body for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            if let Some(Ok(frame)) = &frame {
                this.came += frame.data_ref().map_or(0, Bytes::len);
            }
            if this.came >= PACE_LEN {
                (this.came, this.window) = (0, None);
            }
            return Poll::Ready(frame);
        }
        let window =
            this.window.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + PACE)));
        match window.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(axum::Error::new(TooSlow)))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        hyper::body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        hyper::body::Body::size_hint(&self.body)
    }
}

/// Why a body did not come to its end.
pub(crate) fn failure(error: &axum::Error) -> Failure {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<TooSlow>() {
            return SLOW;
        }
        cause = error.source();
    }
    CUT
}

/// The JSON of a body.
///
/// # Errors
/// 413, 408, or 400 with what is wrong.
pub(crate) async fn json<T: DeserializeOwned>(body: Body) -> Result<T, Failure> {
    let bytes = read(body, JSON_LEN_MAX).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        // What it says of the input is the sender's own.
        Failure::Told(
            StatusCode::BAD_REQUEST,
            format!("the body is not what it should be: {error}"),
        )
    })
}

/// All of a body, which may be `len_max` bytes long.
///
/// # Errors
/// 413, 408, or 400 where it was cut.
pub(crate) async fn read(mut body: Body, len_max: usize) -> Result<Bytes, Failure> {
    let said = hyper::body::Body::size_hint(&body).lower();
    if said > len_max as u64 {
        return Err(LONG);
    }
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| failure(&error))?.into_data() else { continue };
        if data.len() > len_max - bytes.len() {
            return Err(LONG);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

/// The length that the head of a request states.
pub(crate) fn stated_len(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Closes the connection after a request whose body is not read to its end.
pub(crate) fn close_after(failure: Failure) -> Response<Body> {
    let mut response = failure.into_response();
    let close = axum::http::HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// Content of files is streamed and not limited so.
pub(crate) const JSON_LEN_MAX: usize = 1 << 20;
const PACE: Duration = Duration::from_secs(30);
const PACE_LEN: usize = 1 << 10;
const LONG: Failure = Failure::Http(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long");
const SLOW: Failure = Failure::Http(StatusCode::REQUEST_TIMEOUT, "the body came too slowly");
const CUT: Failure = Failure::Http(StatusCode::BAD_REQUEST, "the body was cut");

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::sync::mpsc;

    use super::*;

    struct Slow(mpsc::Receiver<usize>);

    impl hyper::body::Body for Slow {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let len = self.0.poll_recv(context);
            len.map(|len| len.map(|len| Ok(Frame::data(Bytes::from(vec![b' '; len])))))
        }
    }

    async fn sent(lens: &'static [usize]) -> Result<Bytes, Failure> {
        let (sender, queue) = mpsc::channel(1);
        tokio::spawn(async move {
            for len in lens {
                tokio::time::sleep(PACE / 4).await;
                let _ = sender.send(*len).await;
            }
        });
        let request = Request::new(Body::new(Slow(queue)));
        read(pace(request).into_body(), JSON_LEN_MAX).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_be_slow_and_not_slower() {
        assert_eq!(sent(&[400; 9]).await.unwrap().len(), 3600);
        assert_eq!(sent(&[1024, 1024]).await.unwrap().len(), 2048);
        for crawling in [&[1; 100][..], &[1024, 1, 1, 1, 1, 1, 1]] {
            assert!(matches!(
                sent_to(crawling).await,
                Failure::Http(StatusCode::REQUEST_TIMEOUT, _)
            ));
        }
    }

    async fn sent_to(lens: &'static [usize]) -> Failure {
        sent(lens).await.unwrap_err()
    }

    #[tokio::test]
    async fn json_is_limited_and_what_is_wrong_is_said() {
        let told = json::<Vec<u8>>(Body::from("[1, 2, x]")).await.unwrap_err();
        assert!(
            matches!(told, Failure::Told(StatusCode::BAD_REQUEST, text) if text.contains("column 8"))
        );
        let long = json::<Vec<u8>>(Body::from(vec![b' '; JSON_LEN_MAX + 1])).await.unwrap_err();
        assert!(matches!(long, Failure::Http(StatusCode::PAYLOAD_TOO_LARGE, _)));
        assert_eq!(json::<Vec<u8>>(Body::from("[1]")).await.unwrap(), [1]);
    }
}
