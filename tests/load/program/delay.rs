//! The way to a server that is far away: what one side sends reaches the other one later, in both
//! directions. The bytes on the way do not wait for each other, so the bandwidth stays what it is.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use clap::Args;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;

use crate::Failure;

/// Bytes that are taken from a connection at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Pieces on the way in one direction of a connection: 64 MiB at most, which limits a connection
/// to some GiB a second.
const PIECES_MAX: usize = 1024;

#[derive(Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    listen: SocketAddr,
    /// The server that is far away.
    #[arg(long)]
    to: SocketAddr,
    /// How long each direction takes. A request and its answer take twice as long; opening a
    /// connection takes no time.
    #[arg(long)]
    milliseconds: u64,
}

/// Relays connections until the process is ended.
pub(crate) async fn run(arguments: Arguments) -> Result<String, Failure> {
    let listener = TcpListener::bind(arguments.listen).await?;
    let (to, delay) = (arguments.to, Duration::from_millis(arguments.milliseconds));
    let tasks = TaskTracker::new();
    loop {
        let (near, _) = listener.accept().await?;
        tasks.spawn(async move {
            // Dropping both connections tells each side that the other one is gone.
            let _ = relay(near, to, delay).await;
        });
    }
}

async fn relay(near: TcpStream, to: SocketAddr, delay: Duration) -> io::Result<()> {
    let far = TcpStream::connect(to).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let there = carry(near_read, far_write, delay);
    let back = carry(far_read, near_write, delay);
    tokio::try_join!(there, back)?;
    Ok(())
}

/// Carries one direction of a connection to its end.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) -> io::Result<()> {
    let (departures, mut arrivals) = mpsc::channel::<(Instant, Bytes)>(PIECES_MAX);
    let take = async move {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(PIECE_BYTES);
            if from.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            let piece = (Instant::now() + delay, buffer.split().freeze());
            if departures.send(piece).await.is_err() {
                return Ok(());
            }
        }
    };
    let hand_over = async move {
        while let Some((due, piece)) = arrivals.recv().await {
            sleep_until(due).await;
            to.write_all(&piece).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(take, hand_over)?;
    Ok(())
}
