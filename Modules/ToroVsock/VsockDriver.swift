public import ToroCore
import ToroVirtio

/// The driver of a virtio-vsock device (VIRTIO 1.2, section 5.10): packets in, packets out, and
/// the table of connections.
@Core public final class VsockDriver: Pollable {
    /// The size of a receive buffer, packet header included: a page with what IOBuffer adds.
    private static var receiveSize: Int { 4032 }
    private static var receiveSlots: UInt16 { 64 }
    private static var transmitSlots: UInt16 { 64 }
    private static var tableSize: Int { 256 }
    /// What must be free for a connection: some 8 KiB for it and the task that serves it, and what
    /// those need to go on that are there already.
    private static var connectionMemory: Int { 32 << 10 }
    /// What must be free besides for each connection that is not accepted yet: it keeps what its peer
    /// sends, and nobody takes that. Its peer had better wait outside.
    private static var waitingMemory: Int { 16 << 10 }
    /// Resets owed to peers of unknown connections; more are dropped, and the peer times out.
    private static var backlogLimit: Int { 1024 }
    /// Packets without bytes that wait for the device: more than its connections can need.
    private static var controlLimit: Int { 8192 }

    /// What bounds the time that a closed connection lingers.
    let clock: any Timekeeper
    private let transport: any VirtioTransport
    private let cid: UInt64
    private let bufferAllocation: UInt32
    /// Whether there is memory for so many bytes more: a test has its own say.
    var hasMemory: @Core (Int) -> Bool = { IOBuffer.hasMemory(for: $0) }
    private var receiveQueue: Virtqueue
    private var transmitQueue: Virtqueue
    private var inbound: ObjectTable<VsockInbound>
    /// A packet header for each transmit slot.
    private var headers: IOBuffer
    /// The packets with bytes that the device has, by their slots.
    private var outbound: ObjectTable<VsockOutbound>
    private var controls = ObjectList<VsockControl>()
    /// The packets with bytes that wait for room in the queue, in order.
    private var blocked = ObjectList<VsockOutbound>()
    private var listeners = ObjectList<VsockListener>()
    private var table: ObjectTable<VsockStream>
    private var isBroken = false

    /// The connections there are, also closed ones that wait for the peer's last word.
    public private(set) var connectionCount = 0

    @export(interface) @_optimize(size)
    init(
        _ transport: any VirtioTransport, bufferAllocation: UInt32, clock: any Timekeeper
    ) throws(VirtioError) {
        self.transport = transport
        self.clock = clock
        self.bufferAllocation = bufferAllocation
        var setup = try VirtioSetup(
            transport, required: .version1, optional: [.indirectDescriptors, .eventIndex])
        cid = try VirtioConfiguration(transport).number64(at: 0)
        receiveQueue = try setup.makeQueue(0, size: Self.receiveSlots)
        transmitQueue = try setup.makeQueue(1, size: Self.transmitSlots)
        inbound = ObjectTable(count: Int(receiveQueue.size))
        let slots = Int(transmitQueue.size)
        outbound = ObjectTable(count: slots)
        table = ObjectTable(count: Self.tableSize)
        do throws(OutOfMemory) {
            headers = try IOBuffer(capacity: slots * 64)
        } catch {
            throw .outOfMemory(error)
        }
        headers.didFill(slots * 64)
        setup.finish()
        refill()
    }

    /// Takes connections on `port`, with room for `backlog` of them that are not accepted yet.
    @export(interface)
    public func listen(
        _ port: UInt32, backlog: Int = 128
    ) throws(WiringError) -> VsockListener {
        guard listener(of: port) == nil else {
            throw .badArgument("the service listens on one port twice")
        }
        let listener = VsockListener(self, port: port, backlog: max(backlog, 1))
        listeners.append(listener)
        return listener
    }

    // MARK: Pollable

    /// Takes what the device has finished.
    @export(interface)
    public func poll() -> Bool {
        guard !isBroken else { return false }
        var worked = false
        do throws(VirtqueueError) {
            while let (slot, _) = try transmitQueue.popUsed() {
                worked = true
                outbound[Int(slot)]?.waiter?.resume(true)
                outbound[Int(slot)] = nil
            }
            for _ in 0..<receiveQueue.size {
                guard let (slot, written) = try receiveQueue.popUsed() else { break }
                worked = true
                guard let packet = inbound[Int(slot)] else { continue }
                inbound[Int(slot)] = nil
                take(packet, written)
            }
        } catch {
            fail()
            return true
        }
        if worked {
            refill()
            flush()
        }
        return worked
    }

    /// Asks for an interrupt on the next event.
    @export(interface)
    public func arm() -> Bool {
        // Nothing is looked at any more: what the device says must not keep the core awake.
        if isBroken { return true }
        refill()
        let first = receiveQueue.arm()
        return transmitQueue.arm() && first
    }

    /// Says that interrupts are not needed.
    @export(interface)
    public func disarm() {
        receiveQueue.disarm()
        transmitQueue.disarm()
    }

    /// The packets that the device sends on. Its receive buffers wait for peers.
    public var debt: DeviceDebt? { isBroken ? nil : transmitQueue.debt }

    /// Notifies the device of packets once more.
    @export(interface)
    public func remind() { transport.notify(queue: 1) }

    // MARK: Receiving

    /// Gives the device as many buffers as it has room for; with no memory for more, fewer.
    private func refill() {
        while receiveQueue.hasRoom(for: 1) {
            let packet: VsockInbound
            do throws(OutOfMemory) {
                packet = VsockInbound(try IOBuffer(capacity: Self.receiveSize))
            } catch {
                break
            }
            guard let buffer = packet.buffer.take() else { return }
            let segments: InlineArray<1, VirtqueueSegment> = [
                .writable(buffer.freeDeviceAddress, buffer.freeCapacity)
            ]
            packet.buffer = consume buffer
            guard let slot = receiveQueue.add(segments.span) else { break }
            inbound[Int(slot)] = packet
        }
        if receiveQueue.publish() { transport.notify(queue: 0) }
    }

    private func take(_ packet: VsockInbound, _ written: Int) {
        guard var buffer = packet.buffer.take() else { return }
        buffer.didFill(written)
        guard let header = VsockHeader(parsing: buffer.bytes),
            header.destinationCID == cid, Int(header.length) <= buffer.count - VsockHeader.size
        else { return }
        buffer.removeFirst(VsockHeader.size)
        buffer.truncate(to: Int(header.length))
        let addresses = VsockAddresses(
            peerCID: header.sourceCID, peerPort: header.sourcePort,
            localPort: header.destinationPort)
        let isStream = header.type == VsockHeader.stream
        if isStream, let stream = find(addresses) {
            stream.take(header, buffer)
        } else if isStream, header.operation == VsockOperation.request.rawValue {
            connect(addresses, header)
        } else if header.operation != VsockOperation.reset.rawValue {
            refuse(addresses, header.type)
        }
    }

    private func connect(_ addresses: VsockAddresses, _ header: VsockHeader) {
        // A connection needs memory that cannot be refused later: try whether there is some.
        guard let listener = listener(of: addresses.localPort), listener.hasRoom,
            hasMemory(Self.connectionMemory + listener.waitingCount * Self.waitingMemory)
        else { return refuse(addresses, header.type) }
        var connection = VsockConnection(addresses, bufferAllocation: bufferAllocation)
        var credit = header
        credit.operation = VsockOperation.creditUpdate.rawValue
        _ = connection.receive(credit)
        let stream = VsockStream(self, connection)
        insert(stream)
        send(.response, of: stream)
        _ = listener.take(stream)
    }

    /// Resets what is no connection here; a type that is unknown is answered in kind (5.10.6.4.1).
    private func refuse(_ addresses: VsockAddresses, _ type: UInt16) {
        guard controls.count < Self.backlogLimit else { return }
        var nobody = VsockConnection(addresses, bufferAllocation: 0)
        var header = nobody.header(.reset, from: cid)
        header.type = type
        post(header)
    }

    // MARK: Sending

    /// Sends a packet without bytes.
    func send(_ operation: VsockOperation, of stream: VsockStream, flags: UInt32 = 0) {
        post(stream.connection.header(operation, from: cid, flags: flags))
    }

    private func post(_ header: VsockHeader) {
        // A device that asks and asks, and never takes an answer, is given up.
        guard controls.count < Self.controlLimit else { return fail() }
        controls.append(VsockControl(header))
        flush()
    }

    /// Puts as many packets into the queue as there is room for: those without bytes first.
    private func flush() {
        var done = 0
        while done < controls.count, transmitQueue.hasRoom(for: 1) {
            let segments: InlineArray<1, VirtqueueSegment> = [write(controls[done].header)]
            _ = transmitQueue.add(segments.span)
            done += 1
        }
        controls.removeFirst(done)
        var started = 0
        while controls.isEmpty, started < blocked.count, transmitQueue.hasRoom(for: 3) {
            let packet = blocked[started]
            started += 1
            guard let stream = packet.stream else { continue }
            packet.stream = nil
            start(packet, of: stream)
        }
        blocked.removeFirst(started)
        notify()
    }

    /// Sends as much of `packet` as the peer has room for, when the packets before it are in the
    /// queue, and says where to wait until the device has taken that. False comes from a device that
    /// has failed.
    func transmit(_ packet: VsockOutbound, of stream: VsockStream) -> Waiter<Bool> {
        let waiter = Waiter<Bool>()
        packet.waiter = waiter
        if controls.isEmpty, blocked.isEmpty, transmitQueue.hasRoom(for: 3) {
            start(packet, of: stream)
            notify()
        } else {
            packet.stream = stream
            blocked.append(packet)
        }
        return waiter
    }

    /// Takes back a packet that waits for room in the queue.
    func withdraw(_ packet: VsockOutbound) {
        guard packet.stream != nil else { return }
        packet.stream = nil
        blocked.remove(packet)
    }

    /// Puts the next bytes of `packet` into the queue, which has room. With no credit any more, the
    /// task has to see to that itself.
    private func start(_ packet: VsockOutbound, of stream: VsockStream) {
        let count = min(packet.count, stream.connection.credit)
        guard count > 0 else {
            packet.waiter?.resume(true)
            return
        }
        let (head, body) = packet.segments(count)
        var connection = stream.connection
        let header = connection.header(.readWrite, from: cid, length: count)
        let segments: InlineArray<3, VirtqueueSegment> = [
            write(header), head.length == 0 ? body : head, body,
        ]
        let parts = head.length == 0 || body.length == 0 ? 2 : 3
        guard let slot = transmitQueue.add(segments.span.extracting(0..<parts)) else {
            fatalError("a queue with room takes no packet")
        }
        stream.connection = connection
        outbound[Int(slot)] = packet
        packet.sending = count
    }

    /// Writes the header of the packet that is sent next.
    private func write(_ header: VsockHeader) -> VirtqueueSegment {
        let offset = Int(transmitQueue.nextSlot) * 64
        var span = headers.mutableBytes
        header.emit(to: &span, at: offset)
        return .readable(headers.deviceAddress + UInt64(offset), VsockHeader.size)
    }

    private func notify() {
        if transmitQueue.publish() { transport.notify(queue: 1) }
    }

    // MARK: The table

    private func listener(of port: UInt32) -> VsockListener? {
        for index in 0..<listeners.count where listeners[index].port == port {
            return listeners[index]
        }
        return nil
    }

    func remove(_ listener: VsockListener) {
        listeners.remove(listener)
    }

    private static func place(_ addresses: VsockAddresses) -> Int {
        Int((addresses.peerPort ^ addresses.localPort &* 31) % UInt32(tableSize))
    }

    private func find(_ addresses: VsockAddresses) -> VsockStream? {
        var stream = table[Self.place(addresses)]
        while let candidate = stream {
            if candidate.connection.addresses == addresses { return candidate }
            stream = candidate.next
        }
        return nil
    }

    private func insert(_ stream: VsockStream) {
        let place = Self.place(stream.connection.addresses)
        stream.next = table[place]
        table[place] = stream
        connectionCount += 1
    }

    func remove(_ stream: VsockStream) {
        let place = Self.place(stream.connection.addresses)
        var before: VsockStream?
        var candidate = table[place]
        while let current = candidate, current !== stream {
            before = current
            candidate = current.next
        }
        guard candidate != nil else { return }
        if let before { before.next = stream.next } else { table[place] = stream.next }
        stream.next = nil
        connectionCount -= 1
    }

    /// The device broke its protocol: every connection ends, and there are no more.
    @_optimize(size) @inline(never) private func fail() {
        guard !isBroken else { return }
        isBroken = true
        controls.removeAll()
        let isReset = transport.reset()
        for index in 0..<table.count {
            while let stream = table[index] { stream.end(.deviceFailed) }
        }
        for slot in 0..<outbound.count {
            outbound[slot]?.waiter?.resume(false)
            if isReset { outbound[slot] = nil }
        }
        if !isReset { LostMemory.keep(self) }
        while !blocked.isEmpty {
            let packet = blocked.removeLast()
            packet.stream = nil
            packet.waiter?.resume(false)
        }
        while !listeners.isEmpty { listeners.removeLast().end(.deviceFailed) }
    }
}

/// A packet without bytes that waits for the device.
private final class VsockControl {
    let header: VsockHeader
    init(_ header: VsockHeader) { self.header = header }
}
