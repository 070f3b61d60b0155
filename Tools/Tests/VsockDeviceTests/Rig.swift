import Testing
import ToroTesting
import VhostUser
import VsockDevice

/// A guest that listens on a published port.
struct Rig {
    let frontEnd: FrontEnd
    let port: PublishedPort

    var world: World { frontEnd.world }

    init(
        world: World? = nil, cid: UInt64 = 3, limits: GuestLimits = FrontEnd.limits,
        isUnix: Bool = false, queueSize: UInt16 = 8,
        features: UInt64 = FrontEnd.indirect | FrontEnd.eventIndex
    ) throws {
        frontEnd = try FrontEnd(world: world, cid: cid, queueSize: queueSize, limits: limits)
        port = try PublishedPort(frontEnd.guest, isUnix: isUnix)
        frontEnd.start(features)
        try listen()
    }

    /// Answers the device's question whether anybody listens.
    func listen() throws {
        frontEnd.postReceiveBuffers()
        let probe = try #require(frontEnd.nextPacket())
        #expect(probe.operation == 1)
        #expect(probe.destinationPort == PublishedPort.guestPort)
        frontEnd.transmit(frontEnd.answer(probe, 2))
        #expect(frontEnd.nextPacket()?.operation == 3)
        #expect(frontEnd.readyPorts == [PublishedPort.guestPort])
    }

    /// A client that has connected and that the guest has accepted, with the device's request.
    func open(
        credit: UInt32 = 65_536, receiveBuffer: Int32? = nil
    ) throws -> (client: Client, request: VsockPacket) {
        let client = try Client(port.address, receiveBuffer: receiveBuffer)
        let request = try #require(frontEnd.nextPacket())
        #expect(request.operation == 1)
        #expect(request.sourceCID == 2 && request.destinationCID == frontEnd.guest.cid)
        var response = frontEnd.answer(request, 2)
        response.bufferAllocation = credit
        #expect(frontEnd.transmit(response))
        return (client, request)
    }

    /// Sends the client bytes as the guest may, which keeps to its credit: up to `limit`, or until it
    /// has none left. Byte number n is n modulo 251. Returns how many it sent and the last numbers
    /// it was told.
    @discardableResult
    func send(
        until limit: Int, _ request: VsockPacket, step: Int = 4096
    ) -> (sent: Int, last: VsockPacket) {
        var (sent, last) = (0, request)
        while sent < limit {
            let count = min(step, limit - sent, last.room(after: sent))
            if count > 0 {
                let bytes = (sent..<sent + count).map { UInt8($0 % 251) }
                frontEnd.transmit(frontEnd.answer(request, 5, bytes))
                sent += count
            }
            let packet = frontEnd.nextPacket()
            if let packet, packet.sourcePort == request.sourcePort { last = packet }
            if count <= 0, packet == nil { break }
        }
        return (sent, last)
    }

    /// Whether no connection is left, which may take as long as `FrontEnd.awaitPacket`.
    func isLeft() -> Bool {
        let limit = ContinuousClock.now + .seconds(Patience.seconds)
        while frontEnd.guest.openCount > 0, ContinuousClock.now < limit {
            frontEnd.settle()
            if frontEnd.guest.openCount > 0 { try? frontEnd.loop.turn(limit: 10) }
        }
        return frontEnd.guest.openCount == 0
    }

    /// Whether bytes still pass both ways on a connection of its own.
    func serves() throws -> Bool {
        let (client, request) = try open()
        client.send([1, 2, 3])
        guard let packet = frontEnd.nextPacket(), packet.operation == 5,
            packet.payload == [1, 2, 3]
        else { return false }
        frontEnd.transmit(frontEnd.answer(request, 5, [4, 5, 6]))
        guard client.receive() == .bytes([4, 5, 6]) else { return false }
        frontEnd.transmit(frontEnd.answer(request, 3))
        return client.next() == .reset
    }
}

extension VsockPacket {
    /// How many bytes the guest may send on a connection on which it has sent `sent`, if this is the
    /// last packet it got (VIRTIO 1.2, 5.10.6.3).
    func room(after sent: Int) -> Int {
        Int(bufferAllocation) - Int(UInt32(truncatingIfNeeded: sent) &- forwardCount)
    }
}
