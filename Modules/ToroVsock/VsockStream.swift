public import ToroCore
import ToroVirtio

/// A buffer that waits for `receive`.
@Core final class VsockInbound {
    var buffer: IOBuffer?
    init(_ buffer: consuming IOBuffer) { self.buffer = consume buffer }
}

/// A stream connection over virtio-vsock.
@Core public final class VsockStream: ByteStream {
    private let device: VsockDriver
    var connection: VsockConnection
    /// The next stream in the driver's table.
    var next: VsockStream?

    private var inbox = ObjectList<VsockInbound>()
    private var receiver: Waiter<Bool>?
    private var sender: Waiter<Bool>?
    private var failure: StreamError?
    /// What the task in `send` sends.
    private var sending: VsockOutbound?
    private var askedForCredit = false

    init(_ device: VsockDriver, _ connection: VsockConnection) {
        self.device = device
        self.connection = connection
    }

    // MARK: ByteStream

    /// The next bytes; see ``ToroCore/ByteStream``.
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
        if connection.shouldUpdateCredit { device.send(.creditUpdate, of: self) }
        return buffer
    }

    /// Sends the bytes and gives the buffer back; see ``ToroCore/ByteStream``.
    public func send(_ buffer: consuming IOBuffer) async -> Completed<StreamError> {
        await send(nil, buffer)
    }

    /// Ends our direction (SHUTDOWN with the send flag); see ``ToroCore/ByteStream``.
    public func finish() async throws(StreamError) {
        if let failure { throw failure }
        guard !connection.isFinished else { return }
        connection.isFinished = true
        device.send(.shutdown, of: self, flags: VsockHeader.shutdownSend)
    }

    /// Ends both directions: in order if both are finished, else by a reset.
    public func close() {
        guard failure == nil else { return }
        let isOrderly = connection.isFinished && connection.peerFinished
        if isOrderly {
            device.send(
                .shutdown, of: self, flags: VsockHeader.shutdownReceive | VsockHeader.shutdownSend)
        } else {
            device.send(.reset, of: self)
        }
        end(.closed)
    }

    // MARK: The driver's side

    /// Ends everything that waits, and takes the stream out of the table.
    func end(_ error: StreamError) {
        guard failure == nil else { return }
        failure = error
        if error == .closed { inbox.removeAll() }
        device.remove(self)
        wake()
        sending?.waiter?.resume(false)
    }

    /// Takes in a packet; `buffer`, if there is one, holds its bytes.
    func take(_ header: VsockHeader, _ buffer: consuming IOBuffer?) {
        switch connection.receive(header) {
        case .updated: wake()
        case .answerCredit: device.send(.creditUpdate, of: self)
        case .reset: end(connection.peerFinished && connection.isFinished ? .closed : .reset)
        case .violation:
            device.send(.reset, of: self)
            end(.reset)
        case .data:
            guard let buffer else { return }
            keep(buffer)
            receiver?.resume(true)
        }
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

    private func wake() {
        receiver?.resume(true)
        sender?.resume(true)
    }

    /// Sends head and body as one and gives the body back; see ``ToroCore/ByteStream``.
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
        let credit = connection.credit
        if credit > 0 {
            askedForCredit = false
            return device.transmit(packet, min(packet.count, credit), of: self)
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
    /// Where the task waits for the device to give them back, or for room in its queue.
    var waiter: Waiter<Bool>?
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
