// Embedded Swift has no weak references; a guest needs no device to play with.
#if !hasFeature(Embedded)
public import ToroCore
import ToroVirtio

/// The host's side of a virtio socket device: opens connections to the driver under test, keeps an
/// eye on its credit, and sends it whatever a test makes up.
@Core public final class MockVsockHost {
    /// The device it is behind.
    public let device: MockVirtioDevice
    /// The room each connection has for what the guest sends.
    public var bufferAllocation: UInt32 = 65_536
    /// The most bytes in one packet to the guest.
    public var packetSize = 3_000
    /// Packets of the guest that belong to no connection.
    public private(set) var strays: [VsockPacket] = []
    /// What the guest did that the specification does not allow.
    public private(set) var violations: [String] = []
    /// The host's ports of the guest's packets with bytes, as they came.
    public private(set) var arrivals: [UInt32] = []
    /// The connections there are, by the host's port.
    public private(set) var connections: [UInt32: MockVsockStream] = [:]
    /// Whether a guest that closes a connection hears that it is forgotten.
    public var confirmsClose = true
    /// Whether packets of the guest stay in the ring.
    public var isDeaf = false {
        didSet { if !isDeaf { takePackets() } }
    }

    private var pending: [[UInt8]] = []
    private var nextPort: UInt32 = 50_000

    /// A host of the guest with context id 3.
    public init() {
        device = MockVirtioDevice(
            .socket, queueSizes: [64, 64, 16], configuration: [3, 0, 0, 0, 0, 0, 0, 0])
        device.onNotify = { [unowned self] queue in
            if queue == 0 { flush() } else { takePackets() }
        }
    }

    /// A connection to a port of the guest; nil if it refuses.
    public func connect(to port: UInt32) async -> MockVsockStream? {
        nextPort += 1
        let stream = MockVsockStream(self, local: nextPort, remote: port)
        connections[nextPort] = stream
        stream.post(VsockPacket(1))
        return await stream.isAccepted() ? stream : nil
    }

    /// Sends a packet, whatever it says, as soon as the guest has a buffer for it.
    public func inject(_ packet: VsockPacket) {
        pending.append(packet.bytes)
        flush()
    }

    /// Sends bytes that are no packet.
    public func inject(bytes: [UInt8]) {
        pending.append(bytes)
        flush()
    }

    private func flush() {
        while !pending.isEmpty, let chain = device.take(0) {
            device.finish(chain, of: 0, pending.removeFirst())
        }
    }

    private func takePackets() {
        guard !isDeaf else { return }
        while let chain = device.take(1) {
            if let packet = VsockPacket(chain.readable) {
                take(packet)
            } else {
                violations.append("a packet of " + String(chain.readable.count) + " bytes")
            }
            device.finish(chain, of: 1, [])
        }
    }

    private func take(_ packet: VsockPacket) {
        // Only a reset may be of another type, that of what it answers.
        if packet.sourceCID != 3 || (packet.type != 1 && packet.operation != 3)
            || packet.length != UInt32(packet.payload.count)
        {
            violations.append("a malformed header")
        }
        guard packet.type == 1, let stream = connections[packet.destinationPort],
            stream.remotePort == packet.sourcePort
        else { return strays.append(packet) }
        if packet.operation == 5 { arrivals.append(packet.destinationPort) }
        stream.take(packet)
    }

    func violate(_ text: String) { violations.append(text) }

    func forget(_ stream: MockVsockStream) { connections[stream.localPort] = nil }
}

/// The host's end of a connection to the guest.
@Core public final class MockVsockStream: ByteStream {
    /// The port at the host.
    public let localPort: UInt32
    /// The port in the guest.
    public let remotePort: UInt32
    /// Whether the guest has said that it sends no more.
    public private(set) var peerHasFinished = false
    /// Whether the guest takes no more.
    public private(set) var peerIsDeaf = false
    /// Whether the guest has reset the connection.
    public private(set) var wasReset = false
    /// Whether the connection is over.
    public private(set) var isOver = false

    private let host: MockVsockHost
    private var incoming: [UInt8] = []
    private var accepted: Bool?
    private var hasFinished = false
    private var isClosed = false
    private var forwarded: UInt32 = 0
    private var received: UInt32 = 0
    private var sent: UInt32 = 0
    private var peerAllocation: UInt32 = 0
    private var peerForwarded: UInt32 = 0
    private let receiver = WaitPoint()
    private let sender = WaitPoint()

    init(_ host: MockVsockHost, local: UInt32, remote: UInt32) {
        self.host = host
        localPort = local
        remotePort = remote
    }

    func isAccepted() async -> Bool {
        while accepted == nil { await receiver.wait() }
        return accepted == true
    }

    /// Sends a packet of this connection with its true counters.
    public func post(_ packet: VsockPacket) {
        var packet = packet
        packet.sourcePort = localPort
        packet.destinationPort = remotePort
        packet.bufferAllocation = host.bufferAllocation
        packet.forwardCount = forwarded
        host.inject(packet)
    }

    func take(_ packet: VsockPacket) {
        peerAllocation = packet.bufferAllocation
        peerForwarded = packet.forwardCount
        switch packet.operation {
        case 2: accepted = true
        case 3:
            wasReset = true
            end()
        case 4:
            if packet.flags & 1 != 0 { peerIsDeaf = true }
            if packet.flags & 2 != 0 { peerHasFinished = true }
            if peerIsDeaf, peerHasFinished, host.confirmsClose {
                post(VsockPacket(3))
                end()
            }
        case 5:
            if packet.payload.count > 65_536 { host.violate("a packet of more than 64 KiB") }
            if peerHasFinished { host.violate("bytes behind the end") }
            received &+= UInt32(packet.payload.count)
            if received &- forwarded > host.bufferAllocation {
                host.violate("more than its credit")
            }
            if isClosed {
                forwarded &+= UInt32(packet.payload.count)
            } else {
                incoming += packet.payload
            }
        case 6: break
        case 7: post(VsockPacket(6))
        default: host.violate("operation " + String(packet.operation))
        }
        receiver.wake()
        sender.wake()
    }

    private func end() {
        isOver = true
        if accepted == nil { accepted = false }
        host.forget(self)
    }

    /// The next bytes; see ``ToroCore/ByteStream``.
    public func receive() async throws(StreamError) -> IOBuffer? {
        while incoming.isEmpty {
            if isClosed { throw .closed }
            if peerHasFinished { return nil }
            if isOver { throw .reset }
            await receiver.wait()
        }
        guard var buffer = try? IOBuffer(capacity: incoming.count) else { throw .outOfMemory }
        for byte in incoming { buffer.append(byte) }
        forwarded &+= UInt32(incoming.count)
        incoming.removeAll()
        if !isOver { post(VsockPacket(6)) }
        return buffer
    }

    /// Sends the bytes as the guest's credit allows; see ``ToroCore/ByteStream``.
    public func send(_ buffer: consuming IOBuffer) async -> Completed<StreamError> {
        var rest: [UInt8] = []
        buffer.withBytes { span in
            for index in span.byteOffsets {
                // SAFETY: the index is one of the span's.
                rest.append(unsafe span.unsafeLoad(fromByteOffset: index, as: UInt8.self))
            }
        }
        let total = rest.count
        while !rest.isEmpty {
            if isClosed || hasFinished { return Completed(buffer, .failure(.closed)) }
            if isOver || peerIsDeaf { return Completed(buffer, .failure(.reset)) }
            let unread = sent &- peerForwarded
            let credit = peerAllocation > unread ? Int(peerAllocation - unread) : 0
            guard credit > 0 else {
                await sender.wait()
                continue
            }
            let count = min(rest.count, credit, host.packetSize)
            var packet = VsockPacket(5)
            packet.payload = Array(rest.prefix(count))
            rest.removeFirst(count)
            sent &+= UInt32(count)
            post(packet)
        }
        buffer.removeAll()
        return Completed(buffer, .success(total))
    }

    /// Sends both, one after the other.
    public func send(
        _ head: consuming IOBuffer?, _ body: consuming IOBuffer
    ) async -> Completed<StreamError> {
        guard let head else { return await send(body) }
        let first = await send(head)
        switch first.result {
        case .failure(let error): return Completed(body, .failure(error))
        case .success(let count):
            let done = await send(body)
            let result = done.result
            return Completed(done.take(), result.map { $0 + count })
        }
    }

    /// Says that no more is sent.
    public func finish() async throws(StreamError) {
        guard !hasFinished, !isOver else { return }
        hasFinished = true
        var packet = VsockPacket(4)
        packet.flags = 2
        post(packet)
    }

    /// Says that no more is sent or received; see ``ToroCore/ByteStream``.
    public func close() {
        guard !isClosed, !isOver else { return }
        isClosed = true
        forwarded &+= UInt32(incoming.count)
        incoming.removeAll()
        var packet = VsockPacket(4)
        packet.flags = 3
        post(packet)
        receiver.wake()
        sender.wake()
    }

    /// Resets the connection.
    public func abort() {
        isClosed = true
        receiver.wake()
        sender.wake()
        guard !isOver else { return }
        post(VsockPacket(3))
        end()
    }

    /// How far the bytes have come: to the guest's service; see ``ToroCore/ByteStream``.
    public var progress: StreamProgress {
        StreamProgress(accepted: UInt64(sent), acknowledged: UInt64(peerForwarded))
    }
}
#endif
