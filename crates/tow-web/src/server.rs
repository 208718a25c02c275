//! One HTTP/1.1 connection: its limits, its end.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::{CancellationToken, DropGuard};
use tow_net::WebStream;
use tow_net::gate::Place;
use tow_node::identity::KeyId;
use tow_node::serve::{Presence, Visit, Visitor, Web};
use tow_proto::{Code, Refusal};

use crate::archive::Crcs;
use crate::dav::Dav;
use crate::machine::{House, Machine, Remote};
use crate::patience::{Counted, HEAD_MAX, Leisure};
use crate::router;
use crate::throttle::Throttle;
use crate::tus::Forgotten;

/// What a door is told.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Names of the machine beside its own, which a `Host` may be.
    pub names: Vec<String>,
}

/// The browser's door of a node, or of a tunnel to one.
#[derive(Clone)]
pub struct Door {
    options: Arc<Options>,
    throttle: Throttle,
    dav: Dav,
    forgotten: Forgotten,
    crcs: Crcs,
    router: Router,
}

/// What the requests of a connection share.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) house: House,
    pub(crate) options: Arc<Options>,
    pub(crate) throttle: Throttle,
    pub(crate) dav: Dav,
    pub(crate) forgotten: Forgotten,
    pub(crate) crcs: Crcs,
    pub(crate) from: SocketAddr,
    pub(crate) is_tls: bool,
    pub(crate) place: Option<Arc<Mutex<Place>>>,
    entered: Arc<Mutex<Option<Entered>>>,
    /// For answers whose reader is not hurried.
    pub(crate) leisure: Leisure,
    pub(crate) stop: CancellationToken,
    /// Ends it with the answer that is being sent: the node stops, or whose connection it is was
    /// removed.
    leave: CancellationToken,
    /// Ends it at once: who is at the other end may do nothing any more.
    pub(crate) cut: CancellationToken,
}

/// Whose connection it is: of whoever proved themselves last.
struct Entered {
    key: Option<KeyId>,
    /// One of the links that a key may have.
    presence: Presence,
    _watched: DropGuard,
}

impl Door {
    /// A door.
    pub fn new(options: Options) -> Self {
        let (throttle, forgotten) = (Throttle::default(), Forgotten::default());
        let (dav, crcs) = (Dav::default(), Crcs::default());
        let (options, router) = (Arc::new(options), router::router());
        Self { options, throttle, dav, forgotten, crcs, router }
    }

    /// Serves a connection to the port of a tunnel.
    pub async fn serve_tunnel(
        &self,
        stream: WebStream,
        from: SocketAddr,
        remote: Remote,
        stop: CancellationToken,
    ) {
        let connection = self.connection(House::There(remote), from, &stream, None, stop);
        serve(stream, self.router.clone(), connection).await;
    }

    fn connection(
        &self,
        house: House,
        from: SocketAddr,
        stream: &WebStream,
        place: Option<Arc<Mutex<Place>>>,
        stop: CancellationToken,
    ) -> Connection {
        let (options, throttle) = (self.options.clone(), self.throttle.clone());
        let (dav, forgotten) = (self.dav.clone(), self.forgotten.clone());
        let (is_tls, cut) = (stream.is_tls(), CancellationToken::new());
        let crcs = self.crcs.clone();
        Connection {
            house,
            options,
            throttle,
            dav,
            forgotten,
            crcs,
            from,
            is_tls,
            place,
            entered: Arc::default(),
            leisure: Leisure::default(),
            leave: stop.child_token(),
            stop,
            cut,
        }
    }
}

impl Web for Door {
    fn serve(&self, visit: Visit) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let Visit { stream, from, place, stop, desk } = visit;
        let dropped = place.dropping();
        let place = Arc::new(Mutex::new(place));
        let house = House::Here(desk);
        let connection = self.connection(house, from, &stream, Some(place), stop);
        let router = self.router.clone();
        Box::pin(async move {
            tokio::select! {
                biased;
                () = dropped.cancelled() => {}
                () = serve(stream, router, connection) => {}
            }
        })
    }
}

impl Connection {
    /// Resolves when the node or the tunnel stops.
    pub(crate) async fn ended(&self) {
        self.stop.cancelled().await;
    }

    /// Somebody known has asked: the connection leaves the budget of strangers, and counts as a link
    /// of their key.
    ///
    /// # Errors
    /// `Busy`: there are too many, of the key or altogether. Or the key is not what it was.
    pub(crate) fn prove(&self, machine: &Machine) -> Result<(), Refusal> {
        if let Machine::Here(visitor) = machine {
            self.enter(visitor)?;
        }
        let Some(place) = &self.place else { return Ok(()) };
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if place.is_proved() {
            return Ok(());
        }
        place.prove().map_err(|_| Code::Busy.into())
    }

    fn enter(&self, visitor: &Visitor) -> Result<(), Refusal> {
        let (mut entered, key) = (self.entered(), visitor.grant().key());
        if entered.as_ref().is_some_and(|entered| entered.key == key) {
            return Ok(());
        }
        // Of one that can't be counted as this key's, the count as another's stays.
        let presence = visitor.enter()?;
        let (removed, leave) = (presence.removing(), self.leave.clone());
        let watched = CancellationToken::new();
        let left = watched.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = removed.cancelled() => leave.cancel(),
                () = left.cancelled() => {}
            }
        });
        *entered = Some(Entered { key, presence, _watched: watched.drop_guard() });
        Ok(())
    }

    /// Cancelled when the key was removed whose connection this is; and where it is nobody's.
    pub(crate) fn removing(&self) -> CancellationToken {
        self.entered().as_ref().map_or_else(
            || {
                let nobody = CancellationToken::new();
                nobody.cancel();
                nobody
            },
            |entered| entered.presence.removing(),
        )
    }

    fn entered(&self) -> MutexGuard<'_, Option<Entered>> {
        self.entered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(stream: WebStream, router: Router, connection: Connection) {
    let (leave, cut) = (connection.leave.clone(), connection.cut.clone());
    let leisure = connection.leisure.clone();
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        router.call(request)
    });
    let (stream, patience) = Counted::new(stream, leisure);
    let mut builder = http1::Builder::new();
    builder
        .timer(patience)
        .header_read_timeout(HEAD_MAX)
        .max_headers(FIELDS_MAX)
        .max_buf_size(HEAD_LEN_MAX)
        .half_close(false);
    let served = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = cut.cancelled() => return,
        () = leave.cancelled() => {
            served.as_mut().graceful_shutdown();
            tokio::select! {
                ended = &mut served => ended,
                () = cut.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of a browser has ended");
    }
}

const FIELDS_MAX: usize = 64;
const HEAD_LEN_MAX: usize = 16 << 10;
