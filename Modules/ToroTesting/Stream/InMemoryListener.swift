public import ToroCore

/// A port that exists in memory only; a test is its client.
///
///     let port = InMemoryListener()
///     let server = Task { try? await HTTPServer(files: site).serve(port) }
///     let client = port.connect()
@Core public final class InMemoryListener: Listener {
    private var backlog: [InMemoryStream] = []
    private var failure: ListenError?
    private let waiter = WaitPoint()
    /// Set for the server's end of each new connection.
    public var bytesPerReceive = 65_536

    /// A port without connections.
    public init() {}

    /// The connections that were not accepted yet.
    public var pendingConnections: Int { backlog.count }

    /// The client's end of a new connection; a broken one if the port is closed.
    public func connect() -> InMemoryStream {
        let (client, server) = InMemoryStream.pair()
        server.bytesPerReceive = bytesPerReceive
        guard failure == nil else {
            client.reset()
            return client
        }
        backlog.append(server)
        waiter.wake()
        return client
    }

    /// The next connection; see ``ToroCore/Listener``.
    public func accept() async throws(ListenError) -> InMemoryStream {
        while true {
            if let failure { throw failure }
            if Task.isCancelled { throw .cancelled }
            if !backlog.isEmpty { return backlog.removeFirst() }
            await waiter.wait()
        }
    }

    /// Stops listening; see ``ToroCore/Listener``.
    public func close() { fail(with: .closed) }

    /// Makes this and all later calls of `accept` fail.
    public func fail(with error: ListenError) {
        guard failure == nil else { return }
        failure = error
        for stream in backlog { stream.reset() }
        backlog.removeAll()
        waiter.wake()
    }
}
