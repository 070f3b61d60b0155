import Testing
import ToroTesting
import VhostUser
import VsockDevice

/// A guest that cannot take a connection now, and one that does not listen.
@Suite struct RefusalTests {
    /// A backlog that is full for a while: the client is served all the same, and in its turn.
    @Test func aRefusedClientIsAskedForAgain() throws {
        let rig = try Rig()
        let front = rig.frontEnd
        let client = try Client(rig.port.address)
        client.send([1])
        var requests = 0
        var request = try #require(front.nextPacket())
        for _ in 0..<900 {
            if request.operation == 1 {
                requests += 1
                front.transmit(front.answer(request, 3))
                request.operation = 0
            }
            rig.world.advance(milliseconds: 10)
            if let packet = front.nextPacket() { request = packet }
        }
        #expect((8...30).contains(requests), "with growing delays")
        let late = try Client(rig.port.address)
        #expect(client.receive() == .nothing)
        var next = front.nextPacket()
        for _ in 0..<200 where next == nil {
            rig.world.advance(milliseconds: 10)
            next = front.nextPacket()
        }
        let again = try #require(next)
        #expect(again.sourcePort == request.sourcePort, "the late one waits outside")
        front.transmit(front.answer(again, 2))
        var (bytes, other): (VsockPacket?, VsockPacket?)
        while let packet = front.nextPacket() {
            if packet.operation == 5 { bytes = packet }
            if packet.operation == 1 { other = packet }
        }
        if bytes == nil {
            var update = front.answer(again, 6)
            update.bufferAllocation = 65_536
            front.transmit(update)
            while let packet = front.nextPacket() {
                if packet.operation == 5 { bytes = packet }
                if packet.operation == 1 { other = packet }
            }
        }
        #expect(bytes?.payload == [1])
        #expect(other != nil && other?.sourcePort != again.sourcePort)
        #expect(late.receive() == .nothing)
        #expect(front.guest.violationCount == 0)
    }

    /// Refuses everything that comes for so long.
    private func refuse(_ rig: Rig, seconds: Int) {
        for _ in 0..<seconds * 100 {
            rig.world.advance(milliseconds: 10)
            while let packet = rig.frontEnd.nextPacket() {
                if packet.operation == 1 {
                    rig.frontEnd.transmit(rig.frontEnd.answer(packet, 3))
                }
            }
        }
    }

    /// The guest has stopped listening: the client hears of it after ten seconds, and those that
    /// come later do not wait for ever.
    @Test func aPortThatIsGoneIsGivenUp() throws {
        let rig = try Rig()
        let client = try Client(rig.port.address)
        refuse(rig, seconds: 9)
        #expect(client.receive() == .nothing)
        refuse(rig, seconds: 3)
        #expect(client.next() == .reset)
        let late = try Client(rig.port.address)
        refuse(rig, seconds: 10)
        #expect(late.next() == .reset)
        #expect(rig.frontEnd.silentPorts == [PublishedPort.guestPort])
        #expect(rig.frontEnd.guest.openCount == 0)
    }

    /// A client that gives up while it waits is no business of the guest's.
    @Test func aClientThatLeavesIsNotAskedForAgain() throws {
        let rig = try Rig()
        let front = rig.frontEnd
        let client = try Client(rig.port.address)
        front.transmit(front.answer(try #require(front.nextPacket()), 3))
        client.abort()
        #expect(rig.isLeft())
        rig.world.advance(seconds: 20)
        #expect(front.nextPacket() == nil)
        #expect(try rig.serves())
    }

    /// An answer that was not asked for makes no connection.
    @Test func anAnswerBeforeTheQuestionIsNone() throws {
        let rig = try Rig()
        let front = rig.frontEnd
        let client = try Client(rig.port.address)
        let request = try #require(front.nextPacket())
        front.transmit(front.answer(request, 3))
        front.transmit(front.answer(request, 2))
        #expect(front.nextPacket()?.operation == 3)
        #expect(front.guest.violationCount == 1)
        #expect(client.next() == .reset)
    }

    /// A port on which the guest does not listen is named, and its clients are reset; others go on.
    @Test(arguments: [false, true]) func aSilentPortIsNamed(_ answers: Bool) throws {
        let world = try World()
        let front = try FrontEnd(world: world)
        let silent = try PublishedPort(front.guest)
        let other = try PublishedPort(front.guest, guestPort: 81)
        let clients = try (0..<100).map { _ in try Client(silent.address) }
        front.start()
        front.postReceiveBuffers()
        let first = try #require(front.nextPacket())
        var last = first
        front.transmit(front.answer(try #require(front.nextPacket()), 2))
        #expect(front.readyPorts == [81])
        for _ in 0..<1_100 {
            if world.now < 1_009_900 { #expect(front.silentPorts.isEmpty) }
            if answers, last.operation == 1 { front.transmit(front.answer(last, 3)) }
            last.operation = 0
            world.advance(milliseconds: 10)
            while let packet = front.nextPacket() {
                if packet.destinationPort == 80 { last = packet }
            }
        }
        #expect(front.silentPorts == [PublishedPort.guestPort])
        #expect(clients.allSatisfy { $0.next() == .reset })
        let late = try Client(silent.address)
        world.settle()
        #expect(late.next() == .reset)
        let served = try Client(other.address)
        world.settle()
        #expect(served.receive() == .nothing)
        // It listens after all: at the question that is out, or at the next.
        for _ in 0..<100 where answers && last.operation != 1 {
            world.advance(milliseconds: 10)
            while let packet = front.nextPacket() {
                if packet.destinationPort == 80 { last = packet }
            }
        }
        front.transmit(front.answer(answers ? last : first, 2))
        world.settle()
        #expect(front.readyPorts.count == 2)
        let welcome = try Client(silent.address)
        world.settle()
        #expect(welcome.receive() == .nothing)
    }
}
