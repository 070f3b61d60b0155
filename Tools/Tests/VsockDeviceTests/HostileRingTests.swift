import Testing
import ToroTesting
import VsockDevice

@testable import VhostUser

/// A guest that breaks the rules of its rings (VIRTIO 1.2, 2.7): the device gives the queue up,
/// its clients hear of it, and other guests of the process notice nothing.
@Suite struct HostileRingTests {
    /// One way to break the transmit queue.
    struct Lie: CustomTestStringConvertible, Sendable {
        let testDescription: String
        var error = VringError.chain
        var features = FrontEnd.indirect | FrontEnd.eventIndex
        let tell: @Sendable (DriverRing) -> Void
    }

    /// A lie in the ring's first descriptor.
    private static func first(
        _ name: String, _ address: UInt64, _ length: UInt32, _ flags: UInt16 = 0,
        _ next: UInt16 = 0, error: VringError = .chain, features: UInt64 = FrontEnd.indirect
    ) -> Lie {
        Lie(testDescription: name, error: error, features: features) { ring in
            ring.describe(0, address, length, flags, next)
            ring.offer(head: 0)
        }
    }

    private static let indirect = DriverRing.indirect
    private static let end = UInt64(GuestRam.size)

    static let lies: [Lie] = [
        Lie(testDescription: "an available index beyond the ring", error: .availableIndex) {
            $0.ram.store($0.availableIndex &+ 9, at: $0.available + 2)
        },
        Lie(testDescription: "a head beyond the table") { $0.offer(head: 8) },
        first("memory behind the guest's", end, 44, error: .address),
        first("memory that begins inside and ends outside", end - 43, 44, error: .address),
        first("an address that overflows", .max - 10, 44, error: .address),
        first("the longest length there is", 0, .max, error: .address),
        first("a next beyond the table", 0x4_0000, 44, DriverRing.next, 8),
        first("a chain that is a circle", 0x4_0000, 44, DriverRing.next, 0),
        first("an empty table", 0x1_0000, 0, indirect),
        first("a table of one and a half", 0x1_0000, 24, indirect),
        first("a table too long to be", 0x1_0000, 16 * 1025, indirect),
        first("a table at an odd place", 0x1_0001, 16, indirect),
        first("a table outside memory", end, 16, indirect, error: .address),
        first("a table with something behind it", 0x1_0000, 16, indirect | DriverRing.next, 1),
        first("a table that was not agreed on", 0x1_0000, 16, indirect, features: 0),
        // The device follows it into the ring's own table, which says the same again.
        Lie(testDescription: "the ring as its own table") { ring in
            ring.describe(0, UInt64(ring.descriptors), 16 * 8, indirect, 0)
            ring.offer(head: 0)
        },
        Lie(testDescription: "a table in a table") { ring in
            ring.describe(0, UInt64(ring.table), 16, indirect, 0)
            ring.describe(0, UInt64(ring.table), 16, indirect, 0, table: ring.table)
            ring.offer(head: 0)
        },
        Lie(testDescription: "a next beyond an indirect table") { ring in
            ring.describe(0, UInt64(ring.table), 16, indirect, 0)
            ring.describe(0, 0x4_0000, 44, DriverRing.next, 1, table: ring.table)
            ring.offer(head: 0)
        },
        Lie(testDescription: "room before bytes") { ring in
            ring.describe(0, 0x4_0000, 44, DriverRing.writable | DriverRing.next, 1)
            ring.describe(1, 0x4_0000, 44, 0, 0)
            ring.offer(head: 0)
        },
    ]

    @Test(arguments: lies) func theQueueIsGivenUp(_ lie: Lie) throws {
        let world = try World()
        let rig = try Rig(world: world, features: lie.features)
        let neighbour = try Rig(world: world, cid: 4)
        let (client, _) = try rig.open()
        lie.tell(rig.frontEnd.rings[FrontEnd.transmit])
        rig.frontEnd.kick(FrontEnd.transmit)
        #expect(rig.frontEnd.guest.violationCount == 1)
        #expect(client.isAtEnd())
        #expect(rig.frontEnd.guest.openCount == 0)
        let reason = try #require(rig.frontEnd.broken.first?.description)
        #expect(reason.contains("transmit queue") && reason.contains(lie.error.description))
        #expect(rig.frontEnd.broken.count == 1)
        let late = try Client(rig.port.address)
        rig.frontEnd.settle()
        #expect(late.isAtEnd(), "nobody would ever answer it")
        #expect(rig.frontEnd.ends.isEmpty, "the session goes on: QEMU has done nothing wrong")
        #expect(rig.frontEnd.ram.marginsAreClean)
        #expect(try neighbour.serves())
        // A new driver in the same guest is served again.
        rig.frontEnd.restart()
        try rig.listen()
        #expect(try rig.serves())
    }

    /// The ring itself says what is wrong: a chain that is taken ends the queue for another reason.
    @Test(arguments: lies) func theRingSaysWhy(_ lie: Lie) throws {
        let (driver, device) = try HostileRingTests.ring(lie.features)
        lie.tell(driver)
        #expect(throws: lie.error) { try device.take() }
    }

    @Test func aFullRingIsNoLie() throws {
        let (driver, device) = try HostileRingTests.ring(0)
        driver.ram.store(driver.size, at: driver.available + 2)
        #expect(try device.take())
    }

    /// Descriptors of the ring, and behind them a table: more than 1,024 in all are refused.
    @Test(arguments: [(1_017, true), (1_018, false)])
    func aChainHasAsManySegmentsAsThereIsRoomFor(_ table: (length: Int, isTaken: Bool)) throws {
        let (driver, device) = try HostileRingTests.ring(FrontEnd.indirect)
        let place = 0x2_0000
        for index in 0..<7 {
            driver.describe(UInt16(index), 0x4_0000, 1, DriverRing.next, UInt16(index + 1))
        }
        driver.describe(
            7, UInt64(place), UInt32(16 * table.length), HostileRingTests.indirect, 0)
        for index in 0..<table.length {
            let isLast = index == table.length - 1
            driver.describe(
                UInt16(index), 0x4_0000, 1, isLast ? 0 : DriverRing.next, UInt16(index + 1),
                table: place)
        }
        driver.offer(head: 0)
        if table.isTaken {
            #expect(try device.take())
            #expect(device.readable.count == 1_024)
        } else {
            #expect(throws: VringError.chain) { try device.take() }
        }
    }

    /// Both sides of a ring of eight descriptors, without a session.
    private static func ring(_ features: UInt64) throws -> (driver: DriverRing, device: Vring) {
        let ram = try GuestRam()
        let driver = DriverRing(ram, at: 0x1_0000, size: 8)
        let region = GuestMemory.Region(
            guestAddress: 0, size: end, userAddress: FrontEnd.userBase,
            fileOffset: UInt64(GuestRam.margin))
        func user(_ place: Int) -> UInt64 { FrontEnd.userBase + UInt64(place) }
        let device = Vring(
            try GuestMemory([region], files: [ram.file]), size: driver.size,
            descriptors: user(driver.descriptors), available: user(driver.available),
            used: user(driver.used), base: 0, features: features)
        return (driver, try #require(device))
    }

    /// Receive buffers of one byte each, and some that are too small for a header.
    @Test func buffersMayBeInPieces() throws {
        let rig = try Rig()
        let (client, _) = try rig.open()
        let front = rig.frontEnd
        let ring = front.rings[FrontEnd.receive]
        // What was posted before is used up first.
        for index in 0..<8 {
            client.send([UInt8(index)])
            front.settle()
            _ = ring.takeUsed()
        }
        let pieces = (0..<64).map {
            DriverRing.Part(address: UInt64(0x6_0000 + 2 * $0), length: 1, isWritable: true)
        }
        ring.offer([DriverRing.Part(address: 0x6_0000, length: 43, isWritable: true)])
        ring.offer([DriverRing.Part(address: 0x6_0000, length: 0, isWritable: true)])
        ring.offer([DriverRing.Part(address: 0x6_0000, length: 100)])
        ring.offer(pieces, indirect: true)
        client.send([1, 2, 3, 4])
        front.kick(FrontEnd.receive)
        for _ in 0..<3 { #expect(ring.takeUsed()?.written == 0) }
        #expect(ring.takeUsed()?.written == 48)
        #expect(front.guest.violationCount == 3)
        let bytes = (0..<48).map { front.ram.load(0x6_0000 + 2 * $0, as: UInt8.self) }
        #expect(VsockPacket(bytes)?.payload == [1, 2, 3, 4])
    }

    /// Where a ring's part cannot be: outside memory, half outside, or at an odd place. The parts are
    /// the table, the used ring and the available ring.
    static let impossible: [(place: UInt64, part: Int)] = [
        FrontEnd.userBase + end, FrontEnd.userBase + end - 16, FrontEnd.userBase + 1, 0, .max - 7,
    ].flatMap { place in (0..<3).map { (place, $0) } }

    /// The device does not touch a queue whose parts are not all in memory, and does again when they
    /// are.
    @Test(arguments: impossible)
    func ringsThatCannotBeAreNotUsed(_ lie: (place: UInt64, part: Int)) throws {
        let front = try FrontEnd()
        let port = try PublishedPort(front.guest)
        front.start()
        front.postReceiveBuffers()
        // The device's question lies in the first buffer: the rings are used.
        #expect(front.rings[FrontEnd.receive].usedTotal == 1)
        func contents() -> [[UInt8]] {
            front.rings.map { front.ram.read($0.table - $0.descriptors, at: $0.descriptors) }
        }
        let before = contents()
        for index in 0..<2 {
            _ = front.ask(.getBase, [UInt8(index), 0, 0, 0, 0, 0, 0, 0])
            let ring = front.rings[index]
            var places = [ring.descriptors, ring.used, ring.available].map {
                FrontEnd.userBase + UInt64($0)
            }
            places[lie.part] = lie.place
            front.send(
                .setAddresses,
                FrontEnd.bytes(UInt32(index)) + FrontEnd.bytes(UInt32(0))
                    + places.flatMap { FrontEnd.bytes($0) } + FrontEnd.bytes(UInt64(0)))
            front.giveKick(index)
            front.kick(index)
        }
        front.world.advance(seconds: 30)
        let isUntouched = contents() == before
        #expect(isUntouched)
        #expect(front.ends.isEmpty && front.broken.isEmpty)
        #expect(front.silentPorts.isEmpty, "without its queues there is no driver to be waited for")
        front.restart()
        front.postReceiveBuffers()
        front.transmit(front.answer(try #require(front.nextPacket()), 2))
        #expect(front.readyPorts == [PublishedPort.guestPort])
        withExtendedLifetime(port) {}
    }
}
