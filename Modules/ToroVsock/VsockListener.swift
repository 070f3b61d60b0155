public import ToroCore

/// A vsock port that takes connections.
@Core public final class VsockListener: Listener {
    /// The port.
    public let port: UInt32
    private let backlog: Int
    private let device: VsockDriver
    private var waiting = ObjectList<VsockStream>()
    private var acceptor: Waiter<Bool>?
    /// Why there are no more connections.
    private var failure: ListenError?

    init(_ device: VsockDriver, port: UInt32, backlog: Int) {
        self.device = device
        self.port = port
        self.backlog = backlog
    }

    /// The next connection; see ``ToroCore/Listener``.
    @export(interface)
    public func accept() async throws(ListenError) -> VsockStream {
        while let waiter = waiterForConnection() {
            let isWoken = await waiter.wait(cancelled: false)
            acceptor = nil
            if !isWoken { throw .cancelled }
        }
        if waiting.isEmpty { throw failure ?? .closed }
        return waiting.removeFirst()
    }

    /// Where to wait; nil if there is a connection, or there will be none.
    private func waiterForConnection() -> Waiter<Bool>? {
        guard waiting.isEmpty, failure == nil else { return nil }
        precondition(acceptor == nil, "two tasks accept from one listener")
        let waiter = Waiter<Bool>()
        acceptor = waiter
        return waiter
    }

    /// Stops listening and resets what was not accepted; see ``ToroCore/Listener``.
    @export(interface)
    public func close() { end(.closed) }

    func end(_ error: ListenError) {
        guard failure == nil else { return }
        failure = error
        device.remove(self)
        while !waiting.isEmpty { waiting.removeLast().abort() }
        acceptor?.resume(true)
    }

    /// Takes a new connection; false if the backlog is full.
    func take(_ stream: VsockStream) -> Bool {
        guard hasRoom else { return false }
        waiting.append(stream)
        acceptor?.resume(true)
        return true
    }

    /// The connections that are not accepted yet.
    var waitingCount: Int { waiting.count }

    var hasRoom: Bool { failure == nil && waiting.count < backlog }
}
