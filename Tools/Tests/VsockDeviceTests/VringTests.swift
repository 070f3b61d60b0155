import Testing

@testable import VhostUser

/// What a ring says about chains that break the rules (VIRTIO 1.2, 2.7): each its own error, and
/// for the reason it was given.
@Suite struct VringTests {
    private static let user: UInt64 = 0x7f00_0000_0000

    /// Both sides of a ring of eight descriptors.
    private struct Pair {
        let driver: DriverRing
        let device: Vring

        init() throws {
            let ram = try GuestRam()
            driver = DriverRing(ram, at: 0x1_0000, size: 8)
            let region = GuestMemory.Region(
                guestAddress: 0, size: UInt64(GuestRam.size), userAddress: VringTests.user,
                fileOffset: UInt64(GuestRam.margin))
            let memory = try GuestMemory([region], files: [ram.file])
            func address(_ place: Int) -> UInt64 { VringTests.user + UInt64(place) }
            device = try #require(
                Vring(
                    memory, size: 8, descriptors: address(driver.descriptors),
                    available: address(driver.available), used: address(driver.used), base: 0,
                    features: Vring.indirectFeature))
        }
    }

    @Test func anIndexBeyondTheRing() throws {
        let pair = try Pair()
        pair.driver.ram.store(UInt16(9), at: pair.driver.available + 2)
        #expect(throws: VringError.availableIndex) { try pair.device.take() }
        pair.driver.ram.store(UInt16(8), at: pair.driver.available + 2)
        #expect(try pair.device.take())
    }

    @Test func aHeadBeyondTheTable() throws {
        let pair = try Pair()
        pair.driver.offer(head: 8)
        #expect(throws: VringError.chain) { try pair.device.take() }
    }

    // Behind the tables the memory is zero: an empty descriptor, and the end of the chain.

    @Test func aNextBeyondTheTable() throws {
        let pair = try Pair()
        pair.driver.describe(0, 0x4_0000, 44, DriverRing.next, 8)
        pair.driver.offer(head: 0)
        #expect(throws: VringError.chain) { try pair.device.take() }
    }

    @Test func aNextBeyondAnIndirectTable() throws {
        let pair = try Pair()
        let table = pair.driver.table
        pair.driver.describe(0, UInt64(table), 32, DriverRing.indirect, 0)
        pair.driver.describe(0, 0x4_0000, 44, DriverRing.next, 2, table: table)
        pair.driver.offer(head: 0)
        #expect(throws: VringError.chain) { try pair.device.take() }
    }

    @Test func roomBeforeBytes() throws {
        let pair = try Pair()
        pair.driver.describe(0, 0x4_0000, 44, DriverRing.writable | DriverRing.next, 1)
        pair.driver.describe(1, 0x4_0000, 44, 0, 0)
        pair.driver.offer(head: 0)
        #expect(throws: VringError.chain) { try pair.device.take() }
    }

    @Test func memoryThatIsNotThere() throws {
        let pair = try Pair()
        pair.driver.describe(0, UInt64(GuestRam.size) - 43, 44, 0, 0)
        pair.driver.offer(head: 0)
        #expect(throws: VringError.address) { try pair.device.take() }
    }

    /// Descriptors of the ring, and behind them a table: more than 1,024 in all are refused.
    @Test(arguments: [(1_017, true), (1_018, false)])
    func aChainLongerThanAnyMayBe(_ table: (length: Int, isTaken: Bool)) throws {
        let pair = try Pair()
        for index in 0..<7 {
            pair.driver.describe(
                UInt16(index), 0x4_0000, 1, DriverRing.next, UInt16(index + 1))
        }
        let place = 0x2_0000
        pair.driver.describe(7, UInt64(place), UInt32(16 * table.length), DriverRing.indirect, 0)
        for index in 0..<table.length {
            let isLast = index == table.length - 1
            pair.driver.describe(
                UInt16(index), 0x4_0000, 1, isLast ? 0 : DriverRing.next, UInt16(index + 1),
                table: place)
        }
        pair.driver.offer(head: 0)
        if table.isTaken {
            #expect(try pair.device.take())
            #expect(pair.device.readable.count == 1_024)
        } else {
            #expect(throws: VringError.chain) { try pair.device.take() }
        }
    }
}
