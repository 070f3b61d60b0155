public import ToroCore
import ToroVirtio

/// A buffer that waits for `receive`.
@Core final class VsockInbound {
    var buffer: IOBuffer?
    init(_ buffer: consuming IOBuffer) { self.buffer = consume buffer }
}

/// A stream connection over virtio-vsock.
///
///     open ──close()──▶ lingering ──RST of the peer, or 8 s──▶ gone
///       └──abort(), RST, both directions ended by the peer──────▲
///
/// What lingers is this object alone, without buffers: what was accepted is in the device's queue
/// before the SHUTDOWN, and what comes is dropped.
@Core public final class VsockStream: ByteStream {
    /// How long the peer may take to confirm a close; then it is reset (VIRTIO 1.2, 5.10.6.6; Linux
    /// waits as long).
    private static var lingerTime: TimeSpan { .seconds(8) }

    private let device: VsockDriver
    var connection: VsockConnection
    /// The next stream in the driver's table.
    var next: VsockStream?

    private var inbox = ObjectList<VsockInbound>()
    private var receiver: Waiter<Bool>?
    private var sender: Waiter<Bool>?
    /// How every operation fails from now on.
    private var failure: StreamError?
    /// Whether the connection is out of the driver's table: nothing is sent for it any more.
    private var isGone = false
    /// Ends the lingering.
    private var lingerTimer: TimerID?
    /// What the task in `send` sends.
    private var sending: VsockOutbound?
    private var askedForCredit = false

    init(_ device: VsockDriver, _ connection: VsockConnection) {
        self.device = device
        self.connection = connection
    }

    // MARK: ByteStream

    /// The next bytes; see ``ToroCore/ByteStream``.
    @export(interface)
    public func receive() async throws(StreamError) -> IOBuffer? {
        while let waiter = waiterForBytes() {
            let isWoken = await waiter.wait(cancelled: false)
            receiver = nil
            if !isWoken { throw .cancelled }
        }
        return try nextBytes()
    }

    /// Where to wait; nil if there are bytes, or there will be none.
    private func waiterForBytes() -> Waiter<Bool>? {
        guard inbox.isEmpty, failure == nil, !connection.peerFinished else { return nil }
        precondition(receiver == nil, "two tasks receive from one stream")
        let waiter = Waiter<Bool>()
        receiver = waiter
        return waiter
    }

    private func nextBytes() throws(StreamError) -> IOBuffer? {
        guard !inbox.isEmpty, let buffer = inbox.removeFirst().buffer.take() else {
            if let failure { throw failure }
            return nil
        }
        connection.didForward(buffer.count)
        confirmClose()
        if !isGone, connection.shouldUpdateCredit { device.send(.creditUpdate, of: self) }
        return buffer
    }

    /// Sends the bytes and gives the buffer back; see ``ToroCore/ByteStream``.
    @export(interface)
    public func send(_ buffer: consuming IOBuffer) async -> Completed<StreamError> {
        await send(nil, buffer)
    }

    /// Ends our direction (SHUTDOWN with the send flag); see ``ToroCore/ByteStream``.
    @export(interface)
    public func finish() async throws(StreamError) {
        if let failure { throw failure }
        guard !connection.isFinished else { return }
        connection.isFinished = true
        if !isGone { device.send(.shutdown, of: self, flags: VsockHeader.shutdownSend) }
    }

    /// Ends both directions in order (SHUTDOWN with both flags); see ``ToroCore/ByteStream``.
    @export(interface)
    public func close() {
        guard failure == nil else { return }
        fail(.closed)
        confirmClose()
        guard !isGone else { return }
        lingerTimer = device.clock.schedule(at: device.clock.now + Self.lingerTime) { [self] in
            lingerTimer = nil
            abort()
        }
        device.send(
            .shutdown, of: self, flags: VsockHeader.shutdownReceive | VsockHeader.shutdownSend)
    }

    /// Breaks the connection off (RST); see ``ToroCore/ByteStream``.
    @export(interface)
    public func abort() {
        fail(.closed)
        guard !isGone else { return }
        device.send(.reset, of: self)
        leave()
    }

    /// How far the bytes have come; see ``ToroCore/ByteStream``.
    public var progress: StreamProgress { connection.progress }

    /// Makes what waits fail, and all that comes.
    @_optimize(size) @inline(never) private func fail(_ error: StreamError) {
        guard failure == nil else { return }
        failure = error
        if error == .closed { inbox.removeAll() }
        receiver?.resume(true)
        sender?.resume(true)
        sending?.waiter?.resume(false)
    }

    /// Takes the connection out of the driver's table.
    private func leave() {
        isGone = true
        device.remove(self)
        if let lingerTimer { device.clock.cancel(lingerTimer) }
        lingerTimer = nil
    }

    /// Confirms the peer's close when nothing is left to read (5.10.6.6).
    private func confirmClose() {
        guard connection.peerHasClosed, inbox.isEmpty, !isGone else { return }
        device.send(.reset, of: self)
        leave()
    }

    // MARK: The driver's side

    /// The device below has failed.
    @inline(never) func end(_ error: StreamError) {
        leave()
        fail(error)
    }

    /// Takes in a packet; `buffer`, if there is one, holds its bytes.
    func take(_ header: VsockHeader, _ buffer: consuming IOBuffer?) {
        switch connection.receive(header) {
        case .updated: break
        case .answerCredit: device.send(.creditUpdate, of: self)
        case .reset:
            leave()
            // After both ends this is the peer's confirmation.
            if !(connection.peerFinished && connection.isFinished) { fail(.reset) }
        case .violation:
            device.send(.reset, of: self)
            leave()
            fail(.reset)
        case .data:
            if failure == nil, let buffer { keep(buffer) }
        }
        confirmClose()
        if !inbox.isEmpty || connection.peerFinished { receiver?.resume(true) }
        // Any packet may bring credit.
        if connection.credit > 0 || connection.peerDeaf { sender?.resume(true) }
    }

    /// Joins packets where they fit: each buffer takes a page, however little is in it.
    private func keep(_ buffer: consuming IOBuffer) {
        if let last = inbox.last, var before = last.buffer.take() {
            if before.freeCapacity >= buffer.count {
                before.append(buffer.bytes)
                last.buffer = consume before
                return
            }
            last.buffer = consume before
        }
        inbox.append(VsockInbound(buffer))
    }

    /// Sends head and body as one and gives the body back; see ``ToroCore/ByteStream``.
    @export(interface)
    public func send(
        _ head: consuming IOBuffer?, _ body: consuming IOBuffer
    ) async -> Completed<StreamError> {
        let packet = begin(VsockOutbound(head: head, body: body))
        while let waiter = step(packet) {
            stepped(packet, await waiter.wait(cancelled: false))
        }
        return end(packet)
    }

    private func begin(_ packet: VsockOutbound) -> VsockOutbound {
        precondition(sending == nil, "two tasks send on one stream")
        sending = packet
        return packet
    }

    /// Sends as much of `packet` as the peer has room for, and says where to wait for the end of
    /// that, or for room; nil when all was sent, or no more can be.
    private func step(_ packet: VsockOutbound) -> Waiter<Bool>? {
        if packet.count == 0 || packet.failure != nil { return nil }
        packet.failure =
            failure ?? (connection.isFinished ? .closed : connection.peerDeaf ? .reset : nil)
        if packet.failure != nil { return nil }
        if connection.credit > 0 {
            askedForCredit = false
            return device.transmit(packet, of: self)
        }
        // Once: the answer may be that there is none, and the peer tells of what it frees later.
        if !askedForCredit {
            askedForCredit = true
            device.send(.creditRequest, of: self)
        }
        let waiter = Waiter<Bool>()
        sender = waiter
        return waiter
    }

    /// Takes in how the wait ended.
    private func stepped(_ packet: VsockOutbound, _ isDone: Bool) {
        sender = nil
        if isDone {
            packet.removeFirst(packet.sending)
            packet.sending = 0
        } else {
            packet.failure = failure ?? .cancelled
            device.withdraw(packet)
        }
    }

    private func end(_ packet: VsockOutbound) -> Completed<StreamError> {
        sending = nil
        // What the device has is the device's until it gives it back.
        guard packet.sending == 0, var buffer = packet.body.take() else {
            return Completed(IOBuffer(), .failure(packet.failure ?? .deviceFailed))
        }
        if let failure = packet.failure { return Completed(buffer, .failure(failure)) }
        buffer.removeAll()
        return Completed(buffer, .success(packet.total))
    }
}

/// Bytes on their way out: a head and a body.
@Core final class VsockOutbound {
    var head: IOBuffer?
    var body: IOBuffer?
    private(set) var headCount: Int
    private(set) var bodyCount: Int
    /// The bytes there were.
    let total: Int
    /// The bytes that the device has now.
    var sending = 0
    /// Where the task waits for the device to give them back.
    var waiter: Waiter<Bool>?
    /// Whose bytes these are, while they wait for room in the device's queue.
    var stream: VsockStream?
    /// Why the rest is not sent.
    var failure: StreamError?

    init(head: consuming IOBuffer?, body: consuming IOBuffer) {
        if let head = head.take() {
            headCount = head.count
            self.head = consume head
        } else {
            headCount = 0
        }
        bodyCount = body.count
        total = headCount + bodyCount
        self.body = consume body
    }

    /// The bytes left.
    var count: Int { headCount + bodyCount }

    /// Where the first `limit` bytes are: in the head, in the body.
    func segments(_ limit: Int) -> (VirtqueueSegment, VirtqueueSegment) {
        var first = VirtqueueSegment.readable(0, 0)
        var second = first
        if let memory = head.take() {
            first = .readable(memory.deviceAddress, min(headCount, limit))
            head = consume memory
        }
        if let memory = body.take() {
            second = .readable(
                memory.deviceAddress, min(bodyCount, max(limit - headCount, 0)))
            body = consume memory
        }
        return (first, second)
    }

    /// Drops bytes that were sent.
    func removeFirst(_ amount: Int) {
        let ofHead = min(amount, headCount)
        if var memory = head.take() {
            memory.removeFirst(ofHead)
            head = consume memory
        }
        headCount -= ofHead
        let ofBody = min(amount - ofHead, bodyCount)
        if var memory = body.take() {
            memory.removeFirst(ofBody)
            body = consume memory
        }
        bodyCount -= ofBody
    }
}
