//! The routes, and what each failure of a worker is in HTTP.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use multiproc::{Cage, Failure, LimitReached, Limits, Pool, TaskError};
use tokio::sync::Semaphore;

use crate::thumbnail::{Refusal, thumbnail};

/// The longest picture that a client may send, in bytes.
pub(crate) const LONGEST: usize = 4 << 20;
/// The address space of a worker, in bytes.
const MEMORY: u64 = 512 << 20;

/// What one server may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) workers: usize,
    /// How many pictures may wait for a worker. A client whose picture would be one more is told to
    /// come back later.
    pub(crate) waiting: usize,
    /// How long a worker may take for one picture.
    pub(crate) deadline: Duration,
}

/// Pictures in, thumbnails out.
#[derive(Debug)]
pub(crate) struct Thumbnailer {
    pool: Pool,
    /// A permit for each picture that runs or waits.
    room: Semaphore,
    settings: Settings,
}

impl Thumbnailer {
    /// Starts the workers, who have neither files nor a network.
    ///
    /// # Errors
    /// The kernel cannot cage them, or no process can be started.
    pub(crate) fn start(settings: Settings) -> multiproc::Result<Arc<Thumbnailer>> {
        let pool = Pool::builder()
            .name("thumbnails")
            .processes(settings.workers)
            .initializer(silence, ())
            .limits(Limits::new().address_space(MEMORY))
            .deadline(settings.deadline)
            // A decoder has nothing to put in order.
            .grace(Duration::ZERO)
            .cage(Cage::new())
            .build()?;
        let room = Semaphore::new(settings.workers + settings.waiting);
        Ok(Arc::new(Thumbnailer { pool, room, settings }))
    }

    /// How many pictures run or wait.
    pub(crate) fn load(&self) -> usize {
        self.settings.workers + self.settings.waiting - self.room.available_permits()
    }

    /// Makes a thumbnail. If this future is dropped, the picture is taken from the queue, or its
    /// worker is killed.
    async fn make(&self, picture: Vec<u8>) -> Result<Vec<u8>, Problem> {
        // It goes after the task does, as what was declared first is dropped last.
        let _permit = self.room.try_acquire().map_err(|_| Problem::Busy)?;
        let task = self.pool.submit(thumbnail, (picture,)).cancel_on_drop();
        Ok(task.await??)
    }

    /// Ends the workers, once they are done. This blocks: call it when no future is left to run.
    ///
    /// # Errors
    /// A worker could not be waited for.
    pub(crate) fn stop(&self) -> multiproc::Result<()> {
        self.pool.close();
        self.pool.join()
    }
}

/// Decoders say on standard error what they die of, and strangers decide what that is. (What a
/// worker has for standard input cannot be written to.)
fn silence() {
    _ = rustix::stdio::dup2_stderr(io::stdin());
}

/// `POST /thumbnail` with a picture as the body, and `GET /load`.
pub(crate) fn routes(thumbnailer: Arc<Thumbnailer>) -> Router {
    Router::new()
        .route("/thumbnail", post(make_thumbnail))
        .route("/load", get(tell_load))
        // What is longer is answered with 413.
        .layer(DefaultBodyLimit::max(LONGEST))
        .with_state(thumbnailer)
}

/// axum drops this future when the client goes away, and the task with it.
async fn make_thumbnail(
    State(thumbnailer): State<Arc<Thumbnailer>>,
    picture: Bytes,
) -> Result<impl IntoResponse, Problem> {
    let png = thumbnailer.make(picture.into()).await?;
    // The picture may have taken over the worker that says this is a PNG. Browsers are not to guess
    // that it is something else.
    Ok(([(CONTENT_TYPE, "image/png"), (X_CONTENT_TYPE_OPTIONS, "nosniff")], png))
}

async fn tell_load(State(thumbnailer): State<Arc<Thumbnailer>>) -> String {
    thumbnailer.load().to_string()
}

/// Why there is no thumbnail.
#[derive(Debug)]
enum Problem {
    /// As many pictures wait as may.
    Busy,
    Refused(Refusal),
    /// The worker did not survive the picture, or was not let.
    Failed(TaskError),
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        Problem::Refused(refusal)
    }
}

impl From<TaskError> for Problem {
    fn from(error: TaskError) -> Problem {
        Problem::Failed(error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let error = match self {
            Problem::Busy => {
                let text = "too many pictures wait\n";
                return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], text)
                    .into_response();
            }
            Problem::Refused(Refusal(why)) => {
                return (StatusCode::UNPROCESSABLE_ENTITY, format!("{why}\n")).into_response();
            }
            Problem::Failed(error) => error,
        };
        let (status, text) = match error.failure() {
            Failure::Limit(LimitReached::Deadline(_)) => {
                (StatusCode::GATEWAY_TIMEOUT, "the picture takes too long\n")
            }
            Failure::Limit(_) => (StatusCode::PAYLOAD_TOO_LARGE, "the picture takes too much\n"),
            Failure::Panicked(_) | Failure::Signalled { .. } | Failure::Exited(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "the decoder did not survive the picture\n")
            }
            Failure::Cancelled(_) => (StatusCode::SERVICE_UNAVAILABLE, "the server ends\n"),
            _ => {
                // Numbers of processes and names of functions are for the log alone.
                eprintln!("async_pool: {error}");
                (StatusCode::INTERNAL_SERVER_ERROR, "no thumbnail could be made\n")
            }
        };
        (status, text).into_response()
    }
}
