//! A client of HTTP that can stop in the middle.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Outcome;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the server answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

/// A picture on its way. To drop it is to hang up.
#[derive(Debug)]
pub(super) struct Upload(TcpStream);

impl Upload {
    /// Sends a whole picture.
    pub(super) async fn of(at: SocketAddr, picture: &[u8]) -> Outcome<Upload> {
        let mut upload = Upload(TcpStream::connect(at).await?);
        upload.send(head(picture.len(), "").as_bytes()).await?;
        // A server that does not want the rest may have closed its side. It has answered.
        _ = upload.send(picture).await;
        Ok(upload)
    }

    /// Announces a picture, and waits until the server wants it.
    pub(super) async fn announced(at: SocketAddr, length: usize) -> Outcome<Upload> {
        let mut upload = Upload(TcpStream::connect(at).await?);
        upload.send(head(length, "Expect: 100-continue\r\n").as_bytes()).await?;
        let mut answer = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
        timeout(PATIENCE, upload.0.read_exact(&mut answer)).await??;
        if !answer.starts_with(b"HTTP/1.1 100 ") {
            return Err(String::from_utf8_lossy(&answer).into());
        }
        Ok(upload)
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Outcome<()> {
        Ok(timeout(PATIENCE, self.0.write_all(bytes)).await??)
    }

    /// Reads to the end of the connection.
    pub(super) async fn answer(mut self) -> Outcome<Answer> {
        let mut bytes = Vec::new();
        timeout(PATIENCE, self.0.read_to_end(&mut bytes)).await??;
        let end = bytes.windows(4).position(|end| end == b"\r\n\r\n").ok_or("no answer")?;
        let body = bytes.split_off(end + 4);
        let head = String::from_utf8(bytes)?;
        let status = head.split(' ').nth(1).ok_or("no status")?.parse()?;
        Ok(Answer { status, head, body })
    }
}

fn head(length: usize, more: &str) -> String {
    format!(
        "POST /thumbnail HTTP/1.1\r\nHost: check\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n"
    )
}

/// Sends a picture, and waits for the answer.
pub(super) async fn post(at: SocketAddr, picture: &[u8]) -> Outcome<Answer> {
    Upload::of(at, picture).await?.answer().await
}

/// Asks for a page.
pub(super) async fn get(at: SocketAddr, path: &str) -> Outcome<Answer> {
    let mut request = Upload(TcpStream::connect(at).await?);
    let head = format!("GET {path} HTTP/1.1\r\nHost: check\r\nConnection: close\r\n\r\n");
    request.send(head.as_bytes()).await?;
    request.answer().await
}
