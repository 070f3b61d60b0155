import Testing
import ToroTesting
import VsockDevice

/// What the host keeps for a guest's clients is bounded, and nobody is lost for it.
@Suite struct BudgetTests {
    /// Opens connections whose clients read nothing, sends as much as may be sent, and looks at the
    /// budget after each packet.
    @Test func theBudgetIsNeverExceeded() throws {
        let limits = GuestLimits(
            bufferSize: 64 << 10, memoryBudget: 512 << 10, connections: 64)
        let rig = try Rig(limits: limits, isUnix: true)
        let guest = rig.frontEnd.guest
        var open: [(client: Client, request: VsockPacket, sent: Int)] = []
        for _ in 0..<64 { open.append(with(try rig.open())) }
        var most = 0
        for round in 0..<3 {
            for index in open.indices {
                let (request, sent) = (open[index].request, open[index].sent)
                let last = open[index].request
                let room = last.room(after: sent)
                if room > 0 {
                    let bytes = [UInt8](repeating: UInt8(round), count: min(room, 16 << 10))
                    rig.frontEnd.transmit(rig.frontEnd.answer(request, 5, bytes))
                    open[index].sent += bytes.count
                }
                while let packet = rig.frontEnd.nextPacket() {
                    let port = packet.sourcePort
                    guard let place = open.firstIndex(where: { $0.request.sourcePort == port })
                    else { continue }
                    open[place].request = packet
                }
                #expect(guest.memoryUsed <= limits.memoryBudget)
                most = max(most, guest.memoryUsed)
            }
        }
        #expect(most > limits.memoryBudget / 2, "it is there to be used")
        #expect(guest.violationCount == 0)
        #expect(guest.openCount == 64)
        for index in open.indices { open[index].client.leave() }
        rig.world.settle()
        #expect(guest.memoryUsed <= 64 * 4096 + 64 * (64 << 10))
    }

    private func with(
        _ opened: (client: Client, request: VsockPacket)
    ) -> (client: Client, request: VsockPacket, sent: Int) {
        (opened.client, opened.request, 0)
    }

    /// As it fills, each further connection is promised less, and never less than the minimum.
    @Test func promisesShrinkAsTheBudgetFills() throws {
        let limits = GuestLimits(
            bufferSize: 64 << 10, memoryBudget: 256 << 10, connections: 32)
        let rig = try Rig(limits: limits)
        var promises: [UInt32] = []
        var clients: [Client] = []
        for _ in 0..<32 {
            let (client, request) = try rig.open()
            clients.append(client)
            promises.append(request.bufferAllocation)
        }
        #expect((16...64).contains(Int(promises.first ?? 0) >> 10))
        #expect(Int(promises.last ?? 0) >> 10 == 4, "the minimum")
        #expect(promises == promises.sorted(by: >))
        #expect(rig.frontEnd.guest.memoryUsed <= 256 << 10)
        withExtendedLifetime(clients) {}
    }

    /// One more than there may be waits outside, and is served when another leaves.
    @Test func aFurtherClientWaitsInTheBacklog() throws {
        // A Unix socket's bytes are delivered when they are read.
        let limits = GuestLimits(bufferSize: 16 << 10, connections: 3)
        let rig = try Rig(limits: limits, isUnix: true)
        let guest = rig.frontEnd.guest
        var opened = try (0..<3).map { _ in try rig.open() }
        let late = try Client(rig.port.address)
        late.send([1])
        rig.world.advance(seconds: 30)
        #expect(rig.frontEnd.nextPacket() == nil)
        #expect(late.receive() == .nothing)
        #expect(guest.openCount == 3)
        // One that only drains counts: its bytes are still there.
        let (client, request) = opened.removeFirst()
        rig.frontEnd.transmit(rig.frontEnd.answer(request, 5, [1, 2, 3]))
        rig.frontEnd.transmit(rig.frontEnd.answer(request, 4, flags: 3))
        #expect(rig.frontEnd.nextPacket()?.operation == 3)
        rig.world.advance(seconds: 10)
        #expect(guest.openCount == 3)
        #expect(rig.frontEnd.nextPacket() == nil)
        #expect(client.next() == .bytes([1, 2, 3]))
        client.leave()
        let next = try #require(rig.frontEnd.awaitPacket())
        #expect(next.operation == 1)
        rig.frontEnd.transmit(rig.frontEnd.answer(next, 2))
        withExtendedLifetime(opened) {}
    }

    /// A client that has everything and does not end keeps nobody outside, however many there are:
    /// the one that has had it longest gives way.
    @Test func aClientThatHasEverythingGivesWay() throws {
        let limits = GuestLimits(bufferSize: 16 << 10, connections: 3)
        let rig = try Rig(limits: limits, isUnix: true)
        let guest = rig.frontEnd.guest
        var opened = try (0..<3).map { _ in try rig.open() }
        for (client, request) in opened.reversed() {
            rig.frontEnd.transmit(rig.frontEnd.answer(request, 5, [1, 2, 3]))
            #expect(client.next() == .bytes([1, 2, 3]))
            rig.frontEnd.transmit(rig.frontEnd.answer(request, 4, flags: 3))
            while rig.frontEnd.nextPacket()?.operation != 3 {}
            #expect(client.next() == .end)
            rig.world.advance(milliseconds: 100)
        }
        #expect(guest.openCount == 3, "as long as nobody waits")
        let busy = try (0..<2).map { _ in try rig.open() }
        #expect(guest.openCount == 3)
        // Only the first of them is still listened to; to send to the others fails.
        let isOpen = opened.map { opened in
            opened.client.send([1])
            return opened.client.send([1]) == 1
        }
        #expect(isOpen == [true, false, false])
        opened.removeAll()
        rig.world.settle()
        #expect(guest.openCount == 2, "the busy ones stay")
        withExtendedLifetime(busy) {}
    }

    /// Nor does one that comes to rest while somebody waits.
    @Test func aClientThatWaitsIsLetInAtOnce() throws {
        let limits = GuestLimits(bufferSize: 16 << 10, connections: 1)
        let rig = try Rig(limits: limits, isUnix: true)
        let (client, request) = try rig.open()
        let late = try Client(rig.port.address)
        rig.world.advance(seconds: 30)
        #expect(rig.frontEnd.nextPacket() == nil)
        rig.frontEnd.transmit(rig.frontEnd.answer(request, 4, flags: 3))
        #expect(rig.frontEnd.nextPacket()?.operation == 3)
        #expect(rig.frontEnd.nextPacket()?.operation == 1)
        #expect(client.next() == .end)
        withExtendedLifetime(late) {}
    }

    /// Also when it is the bytes that are used up.
    @Test func aClientWaitsForTheBudget() throws {
        let limits = GuestLimits(bufferSize: 4096, memoryBudget: 3 * 4096, connections: 100)
        let rig = try Rig(limits: limits)
        var opened = try (0..<3).map { _ in try rig.open() }
        let late = try Client(rig.port.address)
        rig.world.advance(seconds: 30)
        #expect(rig.frontEnd.nextPacket() == nil)
        let (client, request) = opened.removeFirst()
        client.leave()
        #expect(rig.frontEnd.awaitPacket()?.operation == 4)
        rig.frontEnd.transmit(rig.frontEnd.answer(request, 4, flags: 3))
        #expect(rig.frontEnd.nextPacket()?.operation == 3)
        #expect(rig.frontEnd.nextPacket()?.operation == 1)
        #expect(late.receive() == .nothing)
        withExtendedLifetime(opened) {}
    }
}
