public import ToroCore
import ToroVirtio

/// A buffer that waits for `receive`.
@Core final class VsockInbound {
    var buffer: IOBuffer?
    init(_ buffer: consuming IOBuffer) { self.buffer = consume buffer }
}

/// A stream connection over virtio-vsock.
@Core public final class VsockStream: ByteStream {
    /// Packets smaller than this are joined to the one before if there is room.
    private static var smallPacket: Int { 1024 }

    private let device: VsockDriver
    var connection: VsockConnection
    /// The next stream in the driver's table.
    var next: VsockStream?

    private var inbox: [VsockInbound] = []
    private var receiver: Waiter<Bool>?
    private var sender: Waiter<Bool>?
    private var failure: StreamError?
    private var isSending = false
    private var askedForCredit = false

    init(_ device: VsockDriver, _ connection: VsockConnection) {
        self.device = device
        self.connection = connection
    }

    // MARK: ByteStream

    /// The next bytes; see ``ToroCore/ByteStream``.
    public func receive() async throws(StreamError) -> IOBuffer? {
        while true {
            if !inbox.isEmpty, let buffer = inbox.removeFirst().buffer.take() {
                connection.didForward(buffer.count)
                if connection.shouldUpdateCredit { device.send(.creditUpdate, of: self) }
                return buffer
            }
            if let failure { throw failure }
            if connection.peerFinished { return nil }
            precondition(receiver == nil, "two tasks receive from one stream")
            let waiter = Waiter<Bool>()
            receiver = waiter
            let isWoken = await waiter.wait(cancelled: false)
            receiver = nil
            if !isWoken { throw .cancelled }
        }
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

    private func keep(_ buffer: consuming IOBuffer) {
        if buffer.count < Self.smallPacket, let last = inbox.last, var before = last.buffer.take() {
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
        askedForCredit = false
        receiver?.resume(true)
        sender?.resume(true)
    }

    @inline(never)
    private func step(_ packet: VsockOutbound) -> TransmitStep {
        if packet.count == 0 { return .done }
        if let failure { return .failed(failure) }
        if connection.isFinished { return .failed(.closed) }
        if connection.peerDeaf { return .failed(.reset) }
        let credit = connection.credit
        if credit > 0 { return .send(min(packet.count, credit)) }
        if !askedForCredit {
            askedForCredit = true
            device.send(.creditRequest, of: self)
        }
        let waiter = Waiter<Bool>()
        sender = waiter
        return .wait(waiter)
    }

    /// Sends head and body as one and gives the body back; see ``ToroCore/ByteStream``.
    public func send(
        _ head: consuming IOBuffer?, _ body: consuming IOBuffer
    ) async -> Completed<StreamError> {
        precondition(!isSending, "two tasks send on one stream")
        isSending = true
        defer { isSending = false }
        let packet = VsockOutbound(head: head, body: body)
        var failed: StreamError?
        let total = packet.count
        while failed == nil {
            switch step(packet) {
            case .done: break
            case .failed(let error): failed = error
            case .wait(let waiter):
                if !(await waiter.wait(cancelled: false)) { failed = .cancelled }
                sender = nil
                continue
            case .send(let count):
                if await device.transmit(packet, count, of: self) {
                    packet.removeFirst(count)
                } else {
                    failed = failure ?? .deviceFailed
                }
                continue
            }
            break
        }
        let done = total - packet.count
        guard var buffer = packet.body.take() else { fatalError("a packet has lost its body") }
        if let failed { return Completed(buffer, .failure(failed)) }
        buffer.removeAll()
        return Completed(buffer, .success(done))
    }
}

/// What comes next on the way of a packet.
private enum TransmitStep {
    case done
    case failed(StreamError)
    /// The peer has no room.
    case wait(Waiter<Bool>)
    /// So many bytes may go.
    case send(Int)
}

/// Bytes on their way out: a head and a body.
@Core final class VsockOutbound {
    var head: IOBuffer?
    var body: IOBuffer?
    private(set) var headCount: Int
    private(set) var bodyCount: Int

    init(head: consuming IOBuffer?, body: consuming IOBuffer) {
        if let head = head.take() {
            headCount = head.count
            self.head = consume head
        } else {
            headCount = 0
        }
        bodyCount = body.count
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
