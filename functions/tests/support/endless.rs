//! A server with responses that are much larger than the client's limit.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Starts the server and returns its address. It responds to each connection with 200 and 64 MiB in
/// chunks, and closes the connection in the middle of the body. A client without a limit reports an
/// interrupted response.
pub(crate) async fn start_endless_server() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 64 * 1024];
                let _ = stream.read(&mut request).await;
                let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
                let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
                for _ in 0..1_024 {
                    if sent.is_err() {
                        break;
                    }
                    sent = stream.write_all(&chunk).await;
                }
            });
        }
    });
    address
}
