//! Closes the connections of clients that do not read their responses. Otherwise these connections
//! would stay open forever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The number of bytes a second that a client must read on average while data waits to be sent.
const MIN_BYTES: u64 = 1024;

/// A connection with writes that fail if the client reads too little for too long.
///
/// While data waits to be written, at least [`MIN_BYTES`] a second must be written in each period
/// of the length `period`.
#[derive(Debug)]
pub(super) struct WriteLimitedStream<S> {
    stream: S,
    period: Duration,
    /// The end of the current period; `None` if no data waits.
    period_end: Option<Pin<Box<Sleep>>>,
    /// The number of bytes written in the current period.
    written: u64,
}

impl<S> WriteLimitedStream<S> {
    pub(super) fn new(stream: S, period: Duration) -> Self {
        Self { stream, period, period_end: None, written: 0 }
    }

    /// Returns the result of a write. Fails if the period is over and too little was written in it.
    fn check(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Ok(n)) => self.written += n as u64,
            Poll::Ready(Err(_)) => {}
            Poll::Pending => loop {
                let period = self.period;
                let period_end = self.period_end.get_or_insert_with(|| Box::pin(sleep(period)));
                ready!(period_end.as_mut().poll(cx));
                if self.written < MIN_BYTES * period.as_secs().max(1) {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                self.reset();
            },
        }
        result
    }

    /// Ends the current period.
    fn reset(&mut self) {
        self.period_end = None;
        self.written = 0;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteLimitedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteLimitedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.check(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.check(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Flushes the connection. Then no data waits any more, so the current period ends.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.reset();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    const PERIOD: Duration = Duration::from_secs(10);

    /// Returns a connection that buffers 1 KiB, and the other side of the connection.
    fn connection() -> (WriteLimitedStream<DuplexStream>, DuplexStream) {
        let (own, other) = duplex(1024);
        (WriteLimitedStream::new(own, PERIOD), other)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_disconnected() {
        let (mut own, _other) = connection();
        let started = Instant::now();
        let failed = own.write_all(&[0; 4096]).await.unwrap_err();
        assert_eq!((failed.kind(), started.elapsed().as_secs()), (io::ErrorKind::TimedOut, PERIOD.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_a_byte_now_and_then_is_disconnected() {
        let (mut own, mut other) = connection();
        tokio::spawn(async move {
            while other.read_u8().await.is_ok() {
                sleep(Duration::from_millis(100)).await;
            }
        });
        let failed = own.write_all(&[0; 64 * 1024]).await.unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_that_keeps_reading_gets_the_whole_answer() {
        let (mut own, mut other) = connection();
        let reader = tokio::spawn(async move {
            let (mut all, mut some) = (0, [0; 2048]);
            loop {
                match other.read(&mut some).await.unwrap() {
                    0 => return all,
                    n => all += n,
                }
                // reads 1 KiB every half second
                sleep(Duration::from_millis(500)).await;
            }
        });
        let bytes = vec![0; 200 * 1024];
        own.write_all(&bytes).await.unwrap();
        own.flush().await.unwrap();
        drop(own);
        assert_eq!(reader.await.unwrap(), bytes.len());
    }

    #[tokio::test(start_paused = true)]
    async fn time_without_data_to_write_does_not_count() {
        let (mut own, mut other) = connection();
        for _ in 0..5 {
            own.write_all(&[0; 1024]).await.unwrap();
            own.flush().await.unwrap();
            sleep(PERIOD * 3).await;
            other.read_exact(&mut [0; 1024]).await.unwrap();
        }
    }
}
