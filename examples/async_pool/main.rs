//! A web server that makes thumbnails in a pool of caged workers: `POST` a picture, get a PNG.
//!
//! ```console
//! $ cargo run --release --features async,cage --example async_pool -- 127.0.0.1:3000
//! $ curl --data-binary @holiday.jpg http://127.0.0.1:3000/thumbnail -o small.png
//! $ cargo run --release --features async,cage --example async_pool -- --check   # tries itself
//! ```
//!
//! | what happens | what the client gets |
//! |---|---|
//! | the picture is longer than the server takes, or needs more memory than a worker has | 413 |
//! | it is none, or broken, or kills its decoder | 422 |
//! | more pictures wait than may | 503, at once |
//! | it takes longer than the deadline | 504 |
//! | the client goes away | its task is cancelled; if it runs, its worker is killed |
//! | the server gets SIGINT or SIGTERM | answers to all requests that have begun, then the end |

mod check;
mod server;
mod thumbnail;
// The decoder that has every fault there is.
#[path = "../thumbs/toy.rs"]
mod toy;

use std::error::Error;
use std::time::Duration;

use multiproc::cpu_count;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use server::{Settings, Thumbnailer, routes};

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    if address == "--check" {
        return check::run();
    }
    let workers = cpu_count();
    let settings = Settings { workers, waiting: 16 * workers, deadline: Duration::from_secs(2) };
    let thumbnailer = Thumbnailer::start(settings)?;
    let routes = routes(thumbnailer.clone());
    Runtime::new()?.block_on(async {
        let listener = TcpListener::bind(&address).await?;
        println!("POST pictures to http://{}/thumbnail", listener.local_addr()?);
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let told_to_end = async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        axum::serve(listener, routes).with_graceful_shutdown(told_to_end).await
    })?;
    // Only now, as it blocks.
    thumbnailer.stop()?;
    Ok(())
}
