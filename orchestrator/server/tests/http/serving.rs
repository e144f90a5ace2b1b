//! The server on a real socket: its responses, its limits on connections, and its shutdown.

use std::time::Duration;

use stepladder_server::{ConnectionLimits, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::world::ServerFixture;

#[tokio::test]
async fn a_listener_is_served_until_shutdown() {
    let world = ServerFixture::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        stopped.await.ok();
    };
    let served = tokio::spawn(serve(listener, world.router.clone(), ConnectionLimits::default(), shutdown));

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

    // an idle connection must not delay the shutdown
    let idle = TcpStream::connect(address).await.unwrap();
    stop.send(()).unwrap();
    served.await.unwrap();
    drop(idle);
    world.assert_no_error_logged();
}

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Sends a request and reads until the response is complete or the connection is closed.
async fn exchange(connection: &mut TcpStream, request: &[u8]) -> String {
    connection.write_all(request).await.unwrap();
    let mut answer = vec![0; 4_096];
    let n = connection.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..n]).into_owned()
}

#[tokio::test]
async fn a_connection_that_does_not_say_what_it_wants_is_closed() {
    let world = ServerFixture::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = ConnectionLimits { head_timeout: Duration::from_millis(50), ..ConnectionLimits::default() };
    tokio::spawn(serve(listener, world.router.clone(), connections, std::future::pending()));

    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(&HEALTH[..20]).await.unwrap();
    let mut idle = TcpStream::connect(address).await.unwrap();
    assert!(exchange(&mut idle, HEALTH).await.starts_with("HTTP/1.1 200"));
    for (what, connection) in [("silent", &mut silent), ("half a head", &mut half), ("idle", &mut idle)] {
        let closed = tokio::time::timeout(Duration::from_secs(60), connection.read_to_end(&mut Vec::new())).await;
        assert!(closed.is_ok(), "{what}: it is still open");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_closed() {
    let world = ServerFixture::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections =
        ConnectionLimits { max: 1, read_timeout: Duration::from_millis(50), ..ConnectionLimits::default() };
    tokio::spawn(serve(listener, world.router.clone(), connections, std::future::pending()));

    // the client asks for more bytes than the operating system buffers, and never reads them
    let mut deaf = TcpStream::connect(address).await.unwrap();
    let ask = b"GET /app.js HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    let asking = tokio::spawn(async move { while deaf.write_all(&ask).await.is_ok() {} });

    let mut other = TcpStream::connect(address).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(60), exchange(&mut other, HEALTH)).await;
    assert!(answer.expect("its place is held").starts_with("HTTP/1.1 200"));
    asking.await.unwrap();
}

#[tokio::test]
async fn a_large_answer_that_is_taken_slowly_comes_whole() {
    let world = ServerFixture::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, world.router.clone(), ConnectionLimits::default(), std::future::pending()));
    let text = "x".repeat(2_000_000);
    let run = world.run(serde_json::json!({"name": "test/echo", "data": {"text": text}})).await;
    let mut slow = TcpStream::connect(address).await.unwrap();
    let ask = format!("GET /v1/runs/{run} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    slow.write_all(ask.as_bytes()).await.unwrap();
    let (mut all, mut some) = (Vec::new(), [0; 10_000]);
    loop {
        let n = slow.read(&mut some).await.unwrap();
        if n == 0 {
            break;
        }
        all.extend_from_slice(&some[..n]);
        tokio::task::yield_now().await;
    }
    assert!(all.len() > 2 * text.len() && all.ends_with(b"}"), "{} bytes", all.len());
}

#[tokio::test]
async fn connections_past_the_bound_wait_until_one_ends() {
    let world = ServerFixture::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = ConnectionLimits { max: 2, ..ConnectionLimits::default() };
    tokio::spawn(serve(listener, world.router.clone(), connections, std::future::pending()));

    let mut first = TcpStream::connect(address).await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    for connection in [&mut first, &mut second] {
        assert!(exchange(connection, HEALTH).await.starts_with("HTTP/1.1 200"));
    }
    let mut third = TcpStream::connect(address).await.unwrap();
    let mut answer = Box::pin(exchange(&mut third, HEALTH));
    // while the third connection waits, the first two keep working
    for n in 0..4 {
        let connection = if n % 2 == 0 { &mut first } else { &mut second };
        assert!(exchange(connection, HEALTH).await.starts_with("HTTP/1.1 200"));
        assert!(futures::poll!(&mut answer).is_pending(), "there are three connections at a time");
    }
    drop(first);
    assert!(answer.await.starts_with("HTTP/1.1 200"));
}
