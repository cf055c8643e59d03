//! `--check`: the server on a free port, and clients that give it a hard time. What it prints is the
//! same each time.

mod client;
mod pictures;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use crate::server::{Settings, Thumbnailer, routes};
use crate::thumbnail::SIDE;
use client::{Answer, Upload, get, post};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How many clients send pictures at once, and how many each.
const CLIENTS: u32 = 32;
const EACH: u32 = 4;
/// How long anything may take that takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Tries everything that the table in `main.rs` says.
pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    let crowd = Settings { workers: 2, waiting: 64, deadline: Duration::from_secs(2) };
    serve(crowd, load)?;
    // Only a client that goes away ends a task here.
    let patient = Settings { workers: 2, waiting: 4, deadline: Duration::from_secs(3600) };
    serve(patient, |at| async move { hang_up(at, patient).await })?;
    Ok(())
}

/// Runs a server while `clients` run, and then has it end while a picture is on its way.
fn serve<F>(settings: Settings, clients: impl FnOnce(SocketAddr) -> F) -> Result<(), Box<dyn Error>>
where
    F: Future<Output = Outcome<()>>,
{
    let thumbnailer = Thumbnailer::start(settings)?;
    let runtime = Runtime::new()?;
    let (at, told_to_end, server) = runtime.block_on(listen(thumbnailer.clone()))?;
    let outcome = runtime.block_on(async {
        clients(at).await?;
        wind_down(at, told_to_end).await?;
        tokio::time::timeout(PATIENCE, server).await???;
        Ok(())
    });
    thumbnailer.stop()?;
    outcome.map_err(|error: Box<dyn Error + Send + Sync>| -> Box<dyn Error> { error })
}

type Listening = (SocketAddr, oneshot::Sender<()>, JoinHandle<std::io::Result<()>>);

async fn listen(thumbnailer: Arc<Thumbnailer>) -> std::io::Result<Listening> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?;
    let (told_to_end, end) = oneshot::channel();
    let serving = axum::serve(listener, routes(thumbnailer)).with_graceful_shutdown(async {
        _ = end.await;
    });
    Ok((at, told_to_end, tokio::spawn(serving.into_future())))
}

/// Many clients at once, and among them some whose pictures mean harm.
async fn load(at: SocketAddr) -> Outcome<()> {
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(async move {
            for picture in 0..EACH {
                let answer = post(at, &pictures::good(number * EACH + picture)?).await?;
                check_thumbnail(&answer)?;
            }
            Outcome::Ok(())
        });
    }
    let mut harmful = JoinSet::new();
    for (place, (name, picture)) in pictures::harmful()?.into_iter().enumerate() {
        harmful.spawn(async move { Outcome::Ok((place, name, post(at, &picture).await?)) });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    println!("{} pictures from {CLIENTS} clients at once: 200, thumbnails", CLIENTS * EACH);
    let mut answers = Vec::new();
    while let Some(answer) = harmful.join_next().await {
        answers.push(answer??);
    }
    answers.sort_by_key(|(place, ..)| *place);
    for (_, name, Answer { status, body, .. }) in answers {
        println!("{name}: {status}, {}", String::from_utf8_lossy(&body).trim_end());
    }
    Ok(())
}

/// An answer that is to be a small PNG.
fn check_thumbnail(answer: &Answer) -> Outcome<()> {
    let Answer { status, body, .. } = answer;
    if *status != 200 {
        return Err(format!("{status}, {}", String::from_utf8_lossy(body)).into());
    }
    let picture = image::load_from_memory(body)?;
    if picture.width().max(picture.height()) == SIDE {
        Ok(())
    } else {
        Err(format!("{} by {} pixels", picture.width(), picture.height()).into())
    }
}

/// As many pictures that never get done as there is room for, one more, and then nobody who waits.
async fn hang_up(at: SocketAddr, settings: Settings) -> Outcome<()> {
    let room = settings.workers + settings.waiting;
    let endless = pictures::endless();
    let mut clients = Vec::new();
    for _ in 0..room {
        clients.push(Upload::of(at, &endless).await?);
    }
    wait_for_load(at, room).await?;
    let Answer { status, head, .. } = post(at, &pictures::good(1)?).await?;
    let retry = head.lines().find(|line| line.starts_with("retry-after"));
    println!("one more than {room} that run or wait: {status}, {}", retry.unwrap_or("?"));
    drop(clients);
    wait_for_load(at, 0).await?;
    check_thumbnail(&post(at, &pictures::good(2)?).await?)?;
    println!("{room} clients hang up: their tasks are cancelled, and the next picture is a 200");
    Ok(())
}

/// Waits until so many pictures run or wait.
async fn wait_for_load(at: SocketAddr, wanted: usize) -> Outcome<()> {
    let begun = Instant::now();
    loop {
        let load = String::from_utf8(get(at, "/load").await?.body)?;
        if load == wanted.to_string() {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("{load} pictures run or wait, where {wanted} should").into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Has the server end while it reads a picture: that one is answered, and no other.
async fn wind_down(at: SocketAddr, told_to_end: oneshot::Sender<()>) -> Outcome<()> {
    let picture = pictures::good(3)?;
    let mut upload = Upload::announced(at, picture.len()).await?;
    _ = told_to_end.send(());
    let begun = Instant::now();
    while TcpStream::connect(at).await.is_ok() {
        if begun.elapsed() > PATIENCE {
            return Err("the server listens after it was told to end".into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    upload.send(&picture).await?;
    check_thumbnail(&upload.answer().await?)?;
    println!("told to end in the middle of a request: 200, and no more connections");
    Ok(())
}
