//! A client that does not take its answers: its connection is closed instead of being held for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Bytes a second that a client must take on average while an answer waits for it.
const LEAST_BYTES: u64 = 1024;

/// A connection whose writes fail once the other side has taken too little for too long.
///
/// While something waits to be written, each stretch of `within` must move [`LEAST_BYTES`] a second.
#[derive(Debug)]
pub(super) struct WriteLimited<S> {
    stream: S,
    within: Duration,
    /// The end of the present stretch; `None` while nothing waits.
    stretch: Option<Pin<Box<Sleep>>>,
    /// Bytes written in it.
    written: u64,
}

impl<S> WriteLimited<S> {
    pub(super) fn new(stream: S, within: Duration) -> Self {
        Self { stream, within, stretch: None, written: 0 }
    }

    /// The result of a write, or an error where the stretch is over and too little was written in it.
    fn judge(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Ok(n)) => self.written += n as u64,
            Poll::Ready(Err(_)) => {}
            Poll::Pending => loop {
                let within = self.within;
                let stretch = self.stretch.get_or_insert_with(|| Box::pin(sleep(within)));
                ready!(stretch.as_mut().poll(cx));
                if self.written < LEAST_BYTES * within.as_secs().max(1) {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                self.settle();
            },
        }
        result
    }

    /// Begins anew.
    fn settle(&mut self) {
        self.stretch = None;
        self.written = 0;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteLimited<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteLimited<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.judge(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Asked for when all was written: nothing waits any more.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.settle();
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

    const WITHIN: Duration = Duration::from_secs(10);

    /// A connection with room for 1 KiB on its way, and its other side.
    fn connection() -> (WriteLimited<DuplexStream>, DuplexStream) {
        let (own, other) = duplex(1024);
        (WriteLimited::new(own, WITHIN), other)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (mut own, _other) = connection();
        let begun = Instant::now();
        let failed = own.write_all(&[0; 4096]).await.unwrap_err();
        assert_eq!((failed.kind(), begun.elapsed().as_secs()), (io::ErrorKind::TimedOut, WITHIN.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_a_byte_now_and_then_is_given_up() {
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
    async fn a_slow_client_that_goes_on_taking_gets_all_of_it() {
        let (mut own, mut other) = connection();
        let reader = tokio::spawn(async move {
            let (mut all, mut some) = (0, [0; 2048]);
            loop {
                match other.read(&mut some).await.unwrap() {
                    0 => return all,
                    n => all += n,
                }
                // 1 KiB each half second
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
    async fn time_in_which_nothing_is_to_be_written_does_not_count() {
        let (mut own, mut other) = connection();
        for _ in 0..5 {
            own.write_all(&[0; 1024]).await.unwrap();
            own.flush().await.unwrap();
            sleep(WITHIN * 3).await;
            other.read_exact(&mut [0; 1024]).await.unwrap();
        }
    }
}
