import VhostUser

/// Takes the guest's packets and does what they say.
///
/// A packet may be of any length that the guest was promised room for: the specification sets no
/// limit. Linux's vhost-vsock drops those of more than 64 KiB, and with them bytes of a stream that
/// both sides believe whole; there is no reason for that here.
final class TransmitPump {
    /// Packets taken in one go, so that one guest does not starve another.
    private static let burst = 256

    private unowned let guest: Guest
    private var header = [UInt8](repeating: 0, count: VsockPacket.headerSize)
    /// Empties the queue once the events at hand are handled.
    private(set) lazy var again = ResumeOnce(guest.loop) { [unowned guest] in
        _ = guest.transmit.pump()
    }

    init(_ guest: Guest) { self.guest = guest }

    /// A kick: a pump that is due anyway takes what it is about.
    func kicked() {
        if !again.isDue { _ = pump() }
    }

    /// Takes everything there is before the queue stops: the last words of a guest that ends count.
    /// Bounded: a guest that goes on offering gets no more than a ring full of packets taken.
    func finish() {
        for _ in 0..<1024 / TransmitPump.burst where !pump() { return }
    }

    /// Takes up to a burst of packets; true if there are more.
    func pump() -> Bool {
        guard let session = guest.session, let ring = session.ring(Guest.transmitQueue) else {
            return false
        }
        var done = 0
        while !guest.receive.isFull, done < TransmitPump.burst {
            do throws(VringError) {
                guard try ring.takeOrArm() else { break }
            } catch {
                guest.violate(Guest.transmitQueue, error)
                return false
            }
            takePacket(ring)
            ring.complete(written: 0)
            done += 1
        }
        session.signal(Guest.transmitQueue)
        guard done >= TransmitPump.burst else { return false }
        again.soon()
        return true
    }

    private func takePacket(_ ring: Vring) {
        var body = ring.readable
        guard body.read(&header), let packet = VsockPacket(parsing: header),
            packet.sourceCID == guest.cid, packet.destinationCID == Guest.hostCID,
            Int(packet.length) <= body.count
        else {
            guest.countViolation()
            return
        }
        body.truncate(to: Int(packet.length))
        if let publication = guest.connections.probe(
            from: packet.destinationPort, of: packet.sourcePort)
        {
            takeProbeAnswer(packet, publication)
            return
        }
        guard let connection = guest.connections[packet.destinationPort],
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
        case .response where connection.establish(): break
        case .readWrite where connection.take(body): break
        case .creditUpdate: break
        case .creditRequest:
            connection.owed.insert(.creditUpdate)
            guest.receive.schedule(connection)
        case .shutdown where connection.phase == .established:
            // Both ways: the guest hears at once that the host has let go too (5.10.6.6).
            guard connection.shutdown(packet.flags) else { break }
            refuse(packet)
            guest.connections.leave(connection)
        case .reset:
            if !connection.refuse() { guest.connections.abort(connection) }
        default:
            guest.countViolation()
            refuse(packet)
            guest.connections.abort(connection)
        }
    }

    private func takeProbeAnswer(_ packet: VsockPacket, _ publication: Publication) {
        guest.connections.removeProbe(from: packet.destinationPort)
        guard packet.operation == VsockOperation.response.rawValue else {
            return publication.probeLater()
        }
        refuse(packet)
        publication.ready()
    }

    /// Answers a packet with RST.
    private func refuse(_ packet: VsockPacket) {
        var answer = VsockPacket()
        answer.operation = VsockOperation.reset.rawValue
        answer.type = packet.type
        answer.sourcePort = packet.destinationPort
        answer.destinationPort = packet.sourcePort
        guest.receive.post(answer)
    }
}
