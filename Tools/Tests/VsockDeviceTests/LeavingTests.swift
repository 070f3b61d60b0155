import Testing
import ToroTesting
import VhostUser
import VsockDevice

/// How connections end: whatever the guest sent before it was done reaches a client that goes on
/// reading, however slowly, and each side can tell an end from a break.
@Suite struct LeavingTests {
    /// Reads up to `limit` bytes of what has come; what stopped it.
    @discardableResult
    private func read(
        _ client: Client, _ bytes: inout [UInt8], limit: Int = .max
    ) -> Client.Received {
        while bytes.count < limit {
            let next = client.receive()
            guard case .bytes(let more) = next else { return next }
            bytes += more
        }
        return .nothing
    }

    /// Reads until there are `limit` bytes, while the device goes on. The host's own time passes
    /// between a read and the bytes that it makes room for: under load, more than a moment.
    private func take(from client: Client, of rig: Rig, _ bytes: inout [UInt8], until limit: Int) {
        while bytes.count < limit, case .bytes(let more) = client.next() {
            bytes += more
            rig.world.settle()
        }
    }

    private func isWhole(_ bytes: [UInt8], _ count: Int) -> Bool {
        bytes.count == count && bytes.enumerated().allSatisfy { $1 == UInt8($0 % 251) }
    }

    /// More than the sockets of both hosts hold, so that the device keeps the rest.
    private func clientThatDoesNotRead(
        _ rig: Rig, isShort: Bool = false
    ) throws -> (client: Client, request: VsockPacket, sent: Int) {
        let (client, request) = try rig.open(receiveBuffer: 16 << 10)
        let sent = rig.send(until: isShort ? 100_000 : 16 << 20, request, step: 16 << 10).sent
        return (client, request, sent)
    }

    @Test func aSlowReaderGetsAllOfIt() throws {
        let rig = try Rig(limits: GuestLimits())
        let (client, request, sent) = try clientThatDoesNotRead(rig)
        #expect(sent < 16 << 20, "the guest has no credit left")
        rig.frontEnd.transmit(rig.frontEnd.answer(request, 4, flags: 3))
        #expect(rig.frontEnd.nextPacket()?.operation == 3, "answered at once")
        var arrived: [UInt8] = []
        // It takes something every 100 seconds, and over half an hour in all.
        for _ in 0..<20 {
            rig.world.advance(seconds: 100)
            take(from: client, of: rig, &arrived, until: arrived.count + sent / 20)
        }
        while case .bytes(let more) = client.next() { arrived += more }
        #expect(isWhole(arrived, sent))
        #expect(client.next() == .end)
        client.leave()
        #expect(rig.isLeft())
    }

    /// The clock goes on while the device looks at a client that has just taken something.
    @Test func timeMayPassAtAnyMoment() throws {
        let rig = try Rig(world: World(tick: 1), limits: GuestLimits())
        let (client, request, sent) = try clientThatDoesNotRead(rig)
        rig.frontEnd.transmit(rig.frontEnd.answer(request, 4, flags: 3))
        var arrived: [UInt8] = []
        for _ in 0..<20 {
            rig.world.advance(seconds: 1)
            take(from: client, of: rig, &arrived, until: arrived.count + sent / 20)
        }
        while case .bytes(let more) = client.next() { arrived += more }
        #expect(isWhole(arrived, sent))
    }

    @Test func aClientThatTakesNothingIsReset() throws {
        let rig = try Rig()
        let (client, request, _) = try clientThatDoesNotRead(rig)
        rig.frontEnd.transmit(rig.frontEnd.answer(request, 4, flags: 3))
        rig.world.advance(seconds: 115)
        #expect(rig.frontEnd.guest.openCount == 1)
        // The system takes a few bytes more for the client, now and then, in its own time.
        let limit = ContinuousClock.now + .seconds(Patience.seconds)
        while rig.frontEnd.guest.openCount == 1, ContinuousClock.now < limit {
            rig.world.advance(seconds: 10)
        }
        #expect(rig.frontEnd.guest.openCount == 0)
        var arrived: [UInt8] = []
        #expect(read(client, &arrived) == .reset)
    }

    /// As long as the guest is not done, it decides itself: the device only tells it.
    @Test func aGuestIsToldWhatHasLeft() throws {
        let rig = try Rig()
        let (client, request) = try rig.open(receiveBuffer: 16 << 10)
        let sent = 100_000
        var told = rig.send(until: sent, request).last
        func listen() {
            while let packet = rig.frontEnd.nextPacket() { told = packet }
        }
        rig.world.advance(seconds: 130)
        listen()
        #expect(told.forwardCount > 0 && told.forwardCount < UInt32(sent))
        #expect(told.room(after: sent) > 8 << 10, "what sits in the socket costs no credit")
        #expect(rig.frontEnd.guest.openCount == 1)
        var arrived: [UInt8] = []
        while arrived.count < sent, case .bytes(let more) = client.next() { arrived += more }
        #expect(isWhole(arrived, sent))
        rig.world.advance(seconds: 10)
        listen()
        #expect(told.forwardCount == UInt32(sent))
        let alarms = rig.frontEnd.loop.alarmsRung
        rig.world.advance(seconds: 100)
        #expect(rig.frontEnd.loop.alarmsRung == alarms, "nothing is left to look at")
        rig.frontEnd.transmit(rig.frontEnd.answer(request, 4, flags: 3))
        #expect(client.next() == .end)
    }

    /// A guest that has no more bytes under way than fit into its own buffer, as Linux, waits for the
    /// news: it comes long before the second that others are given.
    @Test func aGuestThatKeepsToItsOwnBufferIsToldSoon() throws {
        let rig = try Rig()
        let (client, request) = try rig.open(credit: 256)
        for round in 1...8 {
            let bytes = [UInt8](repeating: UInt8(round), count: 256)
            var packet = rig.frontEnd.answer(request, 5, bytes)
            packet.bufferAllocation = 256
            rig.frontEnd.transmit(packet)
            #expect(client.next() == .bytes(bytes))
            var told: UInt32 = 0
            for _ in 0..<50 where told < UInt32(256 * round) {
                rig.world.advance(milliseconds: 10)
                while let packet = rig.frontEnd.nextPacket() { told = packet.forwardCount }
            }
            #expect(told == UInt32(256 * round))
        }
    }

    /// The host's memory is not the guest's to fill: without a limit a socket takes megabytes for a
    /// client that does not read.
    @Test func aSocketKeepsLittle() throws {
        let rig = try Rig()
        let (client, _, sent) = try clientThatDoesNotRead(rig)
        #expect(sent > 64 << 10 && sent < 1 << 20)
        withExtendedLifetime(client) {}
    }

    @Test func aResetOfTheGuestIsOneAtOnce() throws {
        let rig = try Rig()
        let (client, request, sent) = try clientThatDoesNotRead(rig)
        rig.frontEnd.transmit(rig.frontEnd.answer(request, 3))
        #expect(rig.frontEnd.guest.openCount == 0)
        #expect(rig.frontEnd.guest.memoryUsed == 0)
        var arrived: [UInt8] = []
        #expect(read(client, &arrived) == .reset)
        #expect(arrived.count < sent)
    }

    @Test func aClientsEndIsNoReset() throws {
        let rig = try Rig()
        let (client, request) = try rig.open()
        client.send([1])
        client.leave()
        #expect(rig.frontEnd.nextPacket()?.payload == [1])
        let shutdown = try #require(rig.frontEnd.awaitPacket())
        #expect(shutdown.operation == 4 && shutdown.flags == 2)
        rig.frontEnd.transmit(rig.frontEnd.answer(request, 4, flags: 3))
        #expect(rig.frontEnd.guest.openCount == 0)
    }

    /// With credit for its bytes or without.
    @Test(arguments: [0, 65_536] as [UInt32]) func aClientsResetIsOne(_ credit: UInt32) throws {
        let rig = try Rig()
        let (client, _) = try rig.open(credit: credit)
        client.send([1, 2, 3])
        var last: VsockPacket?
        while let packet = rig.frontEnd.nextPacket() { last = packet }
        #expect(last?.operation == (credit == 0 ? 7 : 5))
        client.abort()
        #expect(rig.frontEnd.awaitPacket()?.operation == 3)
        #expect(rig.frontEnd.guest.openCount == 0)
    }

    /// A client that half-closes, as `nc -N` does, and reads on.
    @Test func aClientThatHasFinishedGetsEverything() throws {
        let rig = try Rig()
        let (client, request, sent) = try clientThatDoesNotRead(rig)
        client.finish()
        rig.frontEnd.settle()
        rig.frontEnd.transmit(rig.frontEnd.answer(request, 4, flags: 3))
        var arrived: [UInt8] = []
        for _ in 0..<60 where arrived.count < sent {
            rig.world.advance(seconds: 5)
            take(from: client, of: rig, &arrived, until: arrived.count + 64 << 10)
        }
        #expect(isWhole(arrived, sent))
        #expect(client.next() == .end)
        rig.world.advance(seconds: 10)
        #expect(rig.frontEnd.guest.openCount == 0)
    }

    /// The answer comes while the client is still sending, and it reads only when it has sent all.
    @Test func aRefusedUploadHearsWhy() throws {
        let rig = try Rig()
        let (client, request) = try rig.open(credit: 1000)
        let upload = [UInt8](repeating: 1, count: 1 << 20)
        var uploaded = client.send(upload)
        while rig.frontEnd.nextPacket() != nil {}
        rig.send(until: 500, request)
        rig.frontEnd.transmit(rig.frontEnd.answer(request, 4, flags: 3))
        while uploaded < 12 << 20 {
            let count = client.send(upload)
            rig.world.settle()
            try #require(count > 0, "the device must read on")
            uploaded += count
        }
        guard case .bytes(let answer) = client.next() else {
            Issue.record("no answer")
            return
        }
        #expect(isWhole(answer, 500))
        #expect(client.next() == .end)
        client.leave()
        #expect(rig.isLeft())
    }

    /// A client that has everything and neither ends nor is silent is waited for, and not for ever.
    @Test(arguments: [false, true]) func lingeringHasAnEnd(_ isLoud: Bool) throws {
        // A Unix socket: its peer's host needs no time to acknowledge what has been read.
        let rig = try Rig(isUnix: true)
        let (client, request) = try rig.open()
        rig.send(until: 500, request)
        rig.frontEnd.transmit(rig.frontEnd.answer(request, 4, flags: 3))
        guard case .bytes = client.next() else {
            Issue.record("no answer")
            return
        }
        #expect(client.next() == .end)
        let upload = [UInt8](repeating: 1, count: 1 << 20)
        var uploaded = 0
        for _ in 0..<2_900 where isLoud && rig.frontEnd.guest.openCount == 1 {
            uploaded += client.send(upload)
            rig.world.advance(milliseconds: 10)
        }
        if isLoud {
            #expect(uploaded >= 64 << 20 && uploaded < 80 << 20)
        } else {
            rig.world.advance(seconds: 29)
            #expect(rig.frontEnd.guest.openCount == 1)
            rig.world.advance(seconds: 2)
        }
        #expect(rig.frontEnd.guest.openCount == 0)
    }

    /// What a guest says before its machine is switched off, and the device has not looked at yet.
    @Test func lastWordsAreHeard() throws {
        let rig = try Rig()
        let (client, request) = try rig.open()
        rig.frontEnd.transmitQuietly(rig.frontEnd.answer(request, 5, [1, 2, 3]))
        rig.frontEnd.transmitQuietly(rig.frontEnd.answer(request, 4, flags: 3))
        for queue in 0..<2 {
            rig.frontEnd.send(
                .setEnable, FrontEnd.bytes(UInt32(queue)) + FrontEnd.bytes(UInt32(0)))
        }
        rig.frontEnd.hangUp()
        rig.frontEnd.settle()
        #expect(client.next() == .bytes([1, 2, 3]))
        #expect(client.next() == .end)
    }
}
