import ToroCore

/// What the connections of one server share.
@Core @safe final class HTTPService {
    let limits: HTTPLimits
    let clock: any Timekeeper
    let respond: HTTPServer.Handler
    /// Whether connections end after the exchange they are in.
    private(set) var isStopping = false
    /// The connections there are.
    private var connections: [HTTPConnection] = []
    // SAFETY: taken out before it is resumed, so it is resumed once.
    private var waiting: UnsafeContinuation<Void, Never>?

    init(_ limits: HTTPLimits, _ clock: any Timekeeper, _ respond: @escaping HTTPServer.Handler) {
        self.limits = limits
        self.clock = clock
        self.respond = respond
    }

    /// Waits until there are fewer connections than the limit, or the task is cancelled.
    func waitForRoom() async {
        guard connections.count >= limits.connections, !Task.isCancelled else { return }
        await withTaskCancellationHandler {
            await unsafe withUnsafeContinuation { continuation in
                if Task.isCancelled {
                    unsafe continuation.resume()
                } else {
                    unsafe waiting = continuation
                }
            }
        } onCancel: {
            Core.assumeIsolated { self.wake() }
        }
    }

    private func wake() {
        let continuation = unsafe waiting
        unsafe waiting = nil
        unsafe continuation?.resume()
    }

    /// Counts a connection that begins.
    func add(_ connection: HTTPConnection) { connections.append(connection) }

    /// Serves a connection to its end.
    func serve(_ connection: HTTPConnection) async {
        await connection.run()
        for index in connections.indices where connections[index] === connection {
            connections.swapAt(index, connections.count - 1)
            connections.removeLast()
            break
        }
        // After a burst the table's memory goes back.
        if connections.isEmpty, connections.capacity > 64 { connections = [] }
        wake()
    }

    /// Ends idle connections now and the others after the exchange they are in.
    func stop() {
        isStopping = true
        for connection in connections where connection.isIdle { connection.transport.close() }
    }
}
