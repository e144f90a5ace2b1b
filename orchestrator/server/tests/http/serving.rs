//! On a real socket: it answers, and it ends when it is told to.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::world::World;

#[tokio::test]
async fn a_listener_is_served_until_shutdown() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        stopped.await.ok();
    };
    let served = tokio::spawn(stepladder_server::serve(listener, world.router.clone(), shutdown));

    let exchange = async |request: &[u8]| {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(request).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let health = exchange(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert!(health.starts_with("HTTP/1.1 200") && health.ends_with(r#"{"status":"ok"}"#), "{health}");
    let sent = exchange(
        b"POST /e/key HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
          5\r\n{\"nam\r\n7\r\ne\":\"a\"}\r\n0\r\n\r\n",
    )
    .await;
    assert!(sent.starts_with("HTTP/1.1 200") && sent.contains("\"status\":200"), "{sent}");
    for broken in [&b"nonsense\r\n\r\n"[..], b"GET /\0 HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"] {
        let answer = exchange(broken).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }

    // a connection that is kept alive and idle does not hold the server up
    let idle = TcpStream::connect(address).await.unwrap();
    stop.send(()).unwrap();
    served.await.unwrap().unwrap();
    drop(idle);
    world.assert_no_error_logged();
}
