import Glibc
import VhostUser

/// The virtio-vsock device of one guest, and the connections of its published ports. A process can
/// have many guests on one event loop.
public final class Guest: VhostUserBackend {
    /// The well-known address of the host (VIRTIO 1.2, 5.10.4).
    static let hostCID: UInt64 = 2
    private static let receiveQueue = 0
    private static let transmitQueue = 1
    /// Packets without a connection that may wait for the guest; with more, its transmit queue
    /// waits instead.
    private static let controlLimit = 1024
    /// Packets taken in one go, so that one guest does not starve another.
    private static let burst = 256

    /// The loop that everything of this guest runs on.
    public let loop: EventLoop
    /// The guest's address.
    public let cid: UInt64
    /// The bytes kept for each connection's client at most.
    public let bufferSize: UInt32
    /// Called when the guest listens on a published port for the first time: with where the host
    /// listens for it, and the guest's port.
    public var onReady: (HostAddress, UInt32) -> Void = { _, _ in }
    /// Called when the guest broke a queue, with what it broke and how in words. Its connections are
    /// reset and its clients turned away, until its driver begins anew.
    public var onBroken: (HostError) -> Void = { _ in }
    /// Called when the front end is gone; with the reason if it was no orderly end.
    public var onEnd: (HostError?) -> Void = { _ in }

    private var session: VhostUserSession?
    private var publications: [Publication] = []
    private var connections: [UInt32: Connection] = [:]
    /// Connections that the guest is done with and whose clients still fetch the last bytes.
    private var draining: [ObjectIdentifier: Connection] = [:]
    private var probes: [UInt32: Publication] = [:]
    private var controls: [VsockPacket] = []
    private var waiting: [Connection] = []
    private var nextPort: UInt32 = 1 << 30
    private var header = [UInt8](repeating: 0, count: VsockPacket.headerSize)
    /// Whether a queue is pumped once the events at hand are handled: one further pump is out.
    private var isResuming = false
    private var isResumingTransmit = false

    /// Connections whose socket is open.
    public private(set) var openCount = 0
    /// Packets of the guest that broke the protocol.
    public private(set) var violationCount = 0

    /// A guest with that address, without a front end yet.
    public init(cid: UInt64, bufferSize: UInt32 = 256 << 10, loop: EventLoop) {
        self.cid = cid
        self.bufferSize = max(bufferSize, 1)
        self.loop = loop
    }

    /// Serves the front end at the other end of `socket`.
    public func attach(_ socket: Int32) throws(HostError) {
        guard session == nil else {
            close(socket)
            throw HostError("the guest has a front end already")
        }
        session = try VhostUserSession(socket, loop: loop, backend: self)
    }

    /// Whether there is a front end.
    public var isAttached: Bool { session != nil }

    /// Joins connections to `listener`, which the guest closes, to a port of the guest. They wait
    /// in the listener's backlog until the guest listens.
    public func publish(_ listener: HostListener, guestPort: UInt32) {
        publications.append(Publication(listener, self, guestPort: guestPort))
    }

    /// Drops the front end, the published ports and all connections. A guest that has a front end
    /// or published ports must be ended before it goes away: the loop knows it.
    public func end() {
        session?.end()
        for publication in publications { publication.end() }
        publications.removeAll()
    }

    // MARK: VhostUserBackend

    /// See ``VhostUser/VhostUserBackend``.
    public var deviceFeatures: UInt64 { 0 }
    /// Receive, transmit and event queue (VIRTIO 1.2, 5.10.2).
    public var queueCount: Int { 2 }
    /// The guest CID (5.10.4).
    public var configuration: [UInt8] { cid.littleEndianBytes }

    /// A queue may be used from now on.
    public func queueStarted(_ index: Int) {
        _ = session?.ring(index)?.arm()
        if index == Guest.transmitQueue { pumpTransmit() } else { pumpReceive() }
        guard session?.ring(0) != nil, session?.ring(1) != nil else { return }
        for publication in publications { publication.probe() }
    }

    /// The guest has put something into a queue.
    public func queueKicked(_ index: Int) {
        // A pump that is due anyway takes what the kick is about: a guest that always kicks gets
        // no more of the loop than one that does not.
        if index == Guest.transmitQueue {
            if !isResumingTransmit { pumpTransmit() }
        } else if !isResuming {
            pumpReceive()
        }
    }

    /// A queue must not be touched any more.
    public func queueStopped(_ index: Int) { forgetConnections() }

    /// The front end is gone: every connection of the guest ends.
    public func disconnected(_ reason: HostError?) {
        forgetConnections()
        for connection in draining.values { connection.release() }
        session = nil
        onEnd(reason)
    }

    private func forgetConnections() {
        let all = connections.values
        connections.removeAll()
        waiting.removeAll()
        controls.removeAll()
        probes.removeAll()
        for publication in publications { publication.pause() }
        for connection in all { connection.release() }
    }

    // MARK: Connections

    /// Requests a connection for a client; closes it if that cannot be.
    func connect(_ file: Int32, guestPort: UInt32) {
        guard session?.ring(Guest.receiveQueue) != nil else {
            close(file)
            return
        }
        var one: Int32 = 1
        // SAFETY: the number outlives the call. A Unix socket has no such option.
        _ = unsafe setsockopt(file, Int32(IPPROTO_TCP), TCP_NODELAY, &one, 4)
        let port = freePort()
        guard
            let connection = try? Connection(
                file, self, hostPort: port, guestPort: guestPort, allocation: bufferSize)
        else { return }
        openCount += 1
        connections[port] = connection
        schedule(connection)
    }

    /// A connection's socket is closed.
    func released(_ connection: Connection) {
        openCount -= 1
        draining[ObjectIdentifier(connection)] = nil
        for publication in publications { publication.resume() }
    }

    /// Asks whether anybody listens on the port.
    func probe(_ publication: Publication) {
        let port = freePort()
        probes[port] = publication
        var packet = VsockPacket()
        packet.operation = VsockOperation.request.rawValue
        packet.sourcePort = port
        packet.destinationPort = publication.guestPort
        post(packet)
    }

    private func freePort() -> UInt32 {
        repeat {
            nextPort = nextPort == UInt32.max - 1 ? 1 << 30 : nextPort + 1
        } while connections[nextPort] != nil || probes[nextPort] != nil
        return nextPort
    }

    private func forget(_ connection: Connection) {
        connections[connection.hostPort] = nil
        draining[ObjectIdentifier(connection)] = connection
        connection.leave()
    }

    // MARK: To the guest

    /// Has the receive queue look at a connection.
    func schedule(_ connection: Connection) {
        guard !connection.isQueued, connection.wantsToSend else { return }
        connection.isQueued = true
        waiting.append(connection)
        resumeSoon()
    }

    private func post(_ packet: VsockPacket) {
        var packet = packet
        packet.sourceCID = Guest.hostCID
        packet.destinationCID = cid
        controls.append(packet)
        resumeSoon()
    }

    /// Fills the receive queue once the events at hand are handled.
    private func resumeSoon() {
        guard !isResuming else { return }
        isResuming = true
        loop.next { [weak self] in
            self?.isResuming = false
            self?.pumpReceive()
        }
    }

    /// Fills the guest's receive buffers with what is due, connections in turn.
    private func pumpReceive() {
        guard let session, let ring = session.ring(Guest.receiveQueue) else { return }
        let wasFull = controls.count >= Guest.controlLimit
        var done = 0
        while !controls.isEmpty || !waiting.isEmpty, done < Guest.burst {
            do throws(VringError) {
                guard try ring.takeOrArm() else { break }
            } catch {
                violate(Guest.receiveQueue, error)
                return
            }
            if fillBuffer(ring) { done += 1 }
        }
        session.signal(Guest.receiveQueue)
        if done >= Guest.burst { resumeSoon() }
        if wasFull, controls.count < Guest.controlLimit { resumeTransmitSoon() }
    }

    /// Puts one packet into the chain at hand, or gives the chain back.
    private func fillBuffer(_ ring: Vring) -> Bool {
        let room = ring.writable.count
        guard room > VsockPacket.headerSize else {
            // A buffer without room for a header is of no use; the guest gets it back empty.
            violationCount += 1
            ring.complete(written: 0)
            return true
        }
        if !controls.isEmpty {
            write(controls.removeFirst(), to: ring, body: 0)
            return true
        }
        let connection = waiting.removeFirst()
        connection.isQueued = false
        guard connection.wantsToSend else {
            ring.putBack()
            return false
        }
        let isSent = fillBuffer(ring, from: connection, room: room - VsockPacket.headerSize)
        if !isSent { ring.putBack() }
        schedule(connection)
        return isSent
    }

    private func fillBuffer(_ ring: Vring, from connection: Connection, room: Int) -> Bool {
        var packet = VsockPacket()
        packet.sourceCID = Guest.hostCID
        packet.destinationCID = cid
        packet.sourcePort = connection.hostPort
        packet.destinationPort = connection.guestPort
        if let operation = connection.takeOwed() {
            packet.operation = operation.rawValue
            if operation == .shutdown { packet.flags = VsockPacket.noSend }
            connection.credit.stamp(&packet)
            write(packet, to: ring, body: 0)
            if operation == .reset { forget(connection) }
            return true
        }
        var body = ring.writable
        body.removeFirst(VsockPacket.headerSize)
        body.truncate(to: min(room, connection.credit.available))
        let count = connection.receive(into: body)
        guard count > 0 else { return false }
        packet.operation = VsockOperation.readWrite.rawValue
        packet.length = UInt32(count)
        connection.credit.stamp(&packet)
        write(packet, to: ring, body: count)
        return true
    }

    private func write(_ packet: VsockPacket, to ring: Vring, body: Int) {
        packet.emit(to: &header)
        var target = ring.writable
        let fits = target.write(header)
        ring.complete(written: fits ? VsockPacket.headerSize + body : 0)
    }

    // MARK: From the guest

    /// Empties the transmit queue once the events at hand are handled.
    private func resumeTransmitSoon() {
        guard !isResumingTransmit else { return }
        isResumingTransmit = true
        loop.next { [weak self] in
            self?.isResumingTransmit = false
            self?.pumpTransmit()
        }
    }

    /// Takes the guest's packets, up to a burst of them.
    private func pumpTransmit() {
        guard let session, let ring = session.ring(Guest.transmitQueue) else { return }
        var done = 0
        while controls.count < Guest.controlLimit, done < Guest.burst {
            do throws(VringError) {
                guard try ring.takeOrArm() else { break }
            } catch {
                violate(Guest.transmitQueue, error)
                return
            }
            takePacket(ring)
            ring.complete(written: 0)
            done += 1
        }
        session.signal(Guest.transmitQueue)
        if done >= Guest.burst { resumeTransmitSoon() }
    }

    private func takePacket(_ ring: Vring) {
        var body = ring.readable
        guard body.read(&header), let packet = VsockPacket(parsing: header),
            packet.sourceCID == cid, packet.destinationCID == Guest.hostCID,
            Int(packet.length) <= body.count
        else {
            violationCount += 1
            return
        }
        body.truncate(to: Int(packet.length))
        if let publication = probes[packet.destinationPort],
            publication.guestPort == packet.sourcePort
        {
            takeProbeAnswer(packet, publication)
            return
        }
        guard let connection = connections[packet.destinationPort],
            connection.guestPort == packet.sourcePort, packet.type == VsockPacket.stream
        else {
            if packet.operation != VsockOperation.reset.rawValue { refuse(packet) }
            return
        }
        take(packet, body, for: connection)
    }

    private func take(_ packet: VsockPacket, _ body: SegmentList, for connection: Connection) {
        connection.update(packet)
        switch VsockOperation(rawValue: packet.operation) {
        case .response where !connection.isEstablished:
            connection.establish()
            for publication in publications { publication.resume() }
        case .readWrite where connection.take(body): break
        case .creditUpdate: break
        case .creditRequest:
            connection.owed.insert(.creditUpdate)
            schedule(connection)
        case .shutdown where connection.isEstablished:
            if connection.shutdown(packet.flags) {
                refuse(packet)
                forget(connection)
            }
        case .reset: forget(connection)
        default:
            violationCount += 1
            refuse(packet)
            forget(connection)
        }
    }

    private func takeProbeAnswer(_ packet: VsockPacket, _ publication: Publication) {
        probes[packet.destinationPort] = nil
        let isListening = packet.operation == VsockOperation.response.rawValue
        if isListening {
            refuse(packet)
            let isFirst = !publication.wasReady
            publication.ready()
            if isFirst { onReady(publication.listener.address, publication.guestPort) }
        } else {
            publication.probeLater()
        }
    }

    /// Answers a packet with RST.
    private func refuse(_ packet: VsockPacket) {
        var answer = VsockPacket()
        answer.operation = VsockOperation.reset.rawValue
        answer.type = packet.type
        answer.sourcePort = packet.destinationPort
        answer.destinationPort = packet.sourcePort
        post(answer)
    }

    /// The guest broke a ring: it is not used any more, and the clients hear of it.
    private func violate(_ index: Int, _ error: VringError) {
        violationCount += 1
        session?.abandon(index)
        for publication in publications { publication.refuse() }
        let queue = index == Guest.transmitQueue ? "transmit" : "receive"
        onBroken(
            HostError(
                """
                the vsock driver of guest \(cid) broke its \(queue) queue (number \(index)): \(error). \
                Its connections are reset; it must be started again, and its driver mended
                """))
    }

    /// Connections that the guest has not answered.
    func pendingCount(guestPort: UInt32) -> Int {
        var count = 0
        for connection in connections.values
        where connection.guestPort == guestPort && !connection.isEstablished { count += 1 }
        return count
    }
}
