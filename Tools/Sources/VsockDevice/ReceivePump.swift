import DequeModule
import VhostUser

/// Fills the guest's receive buffers with what is due: packets without a connection first, then
/// connections in turn.
final class ReceivePump {
    /// Packets without a connection that may wait for the guest; with more, its transmit queue
    /// waits instead.
    private static let controlLimit = 1024
    /// Packets written in one go, so that one guest does not starve another.
    private static let burst = 256
    /// The bytes of a packet at most: Linux's driver has no room for more than 64 KiB
    /// (VIRTIO_VSOCK_MAX_PKT_BUF_SIZE), and others follow it.
    private static let payloadLimit = 64 << 10

    private unowned let guest: Guest
    private var controls = Deque<VsockPacket>()
    private var waiting = Deque<Connection>()
    private var header = [UInt8](repeating: 0, count: VsockPacket.headerSize)
    private lazy var again = ResumeOnce(guest.loop) { [unowned guest] in guest.receive.pump() }

    init(_ guest: Guest) { self.guest = guest }

    /// Whether no more packets of the guest are to be taken that may need an answer.
    var isFull: Bool { controls.count >= ReceivePump.controlLimit }

    /// Has the pump look at a connection.
    func schedule(_ connection: Connection) {
        guard !connection.isQueued, connection.wantsToSend else { return }
        connection.isQueued = true
        waiting.append(connection)
        again.soon()
    }

    /// Sends a packet without a connection.
    func post(_ packet: VsockPacket) {
        controls.append(packet)
        again.soon()
    }

    /// Forgets what is due.
    func clear() {
        for connection in waiting { connection.isQueued = false }
        waiting.removeAll()
        controls.removeAll()
    }

    /// A kick: a pump that is due anyway takes what it is about, so that a guest that always kicks
    /// gets no more of the loop than one that does not.
    func kicked() {
        if !again.isDue { pump() }
    }

    func pump() {
        guard let session = guest.session, let ring = session.ring(Guest.receiveQueue) else {
            return
        }
        let wasFull = isFull
        var done = 0
        while !controls.isEmpty || !waiting.isEmpty, done < ReceivePump.burst {
            do throws(VringError) {
                guard try ring.takeOrArm() else { break }
            } catch {
                guest.violate(Guest.receiveQueue, error)
                return
            }
            if fillBuffer(ring) { done += 1 }
        }
        session.signal(Guest.receiveQueue)
        if done >= ReceivePump.burst { again.soon() }
        if wasFull, !isFull { guest.transmit.again.soon() }
    }

    /// Puts one packet into the chain at hand, or gives the chain back.
    private func fillBuffer(_ ring: Vring) -> Bool {
        let room = ring.writable.count
        guard room > VsockPacket.headerSize else {
            // A buffer without room for a header is of no use; the guest gets it back empty.
            guest.countViolation()
            ring.complete(written: 0)
            return true
        }
        if let packet = controls.popFirst() {
            write(packet, to: ring, body: 0)
            return true
        }
        guard let connection = waiting.popFirst() else {
            ring.putBack()
            return false
        }
        connection.isQueued = false
        let isSent =
            connection.wantsToSend
            && fillBuffer(ring, from: connection, room: room - VsockPacket.headerSize)
        if !isSent { ring.putBack() }
        schedule(connection)
        return isSent
    }

    private func fillBuffer(_ ring: Vring, from connection: Connection, room: Int) -> Bool {
        var packet = VsockPacket()
        packet.sourcePort = connection.hostPort
        packet.destinationPort = connection.guestPort
        if let operation = connection.takeOwed() {
            packet.operation = operation.rawValue
            if operation == .shutdown { packet.flags = VsockPacket.noSend }
            connection.stamp(&packet)
            write(packet, to: ring, body: 0)
            if operation == .reset { guest.connections.abort(connection) }
            return true
        }
        var body = ring.writable
        body.removeFirst(VsockPacket.headerSize)
        body.truncate(to: min(room, connection.credit.available, ReceivePump.payloadLimit))
        let count = connection.receive(into: body)
        guard count > 0 else { return false }
        packet.operation = VsockOperation.readWrite.rawValue
        packet.length = UInt32(count)
        connection.stamp(&packet)
        write(packet, to: ring, body: count)
        return true
    }

    private func write(_ packet: VsockPacket, to ring: Vring, body: Int) {
        var packet = packet
        packet.sourceCID = Guest.hostCID
        packet.destinationCID = guest.cid
        packet.emit(to: &header)
        var target = ring.writable
        let fits = target.write(header)
        ring.complete(written: fits ? VsockPacket.headerSize + body : 0)
    }
}
