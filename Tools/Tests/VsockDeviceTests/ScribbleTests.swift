import Glibc
import Synchronization
import Testing
import ToroTesting
import VhostUser
import VsockDevice

/// A guest that changes its rings and buffers while the device reads them: what was checked must be
/// what is used. Run under AddressSanitizer by `toro test`.
@Suite struct ScribbleTests {
    /// A thread of the guest that writes nonsense, near limits more often than not, until it is told
    /// to stop.
    private final class Scribbler: @unchecked Sendable {
        // Shared with the thread: the memory, which is there to be raced for, and the flag.
        private let ram: GuestRam
        private let rings: [DriverRing]
        private let isStopped = Atomic(false)
        private let random: SeededRandom
        private var thread = pthread_t()

        init(_ front: FrontEnd, seed: UInt64) {
            ram = front.ram
            rings = front.rings
            random = SeededRandom(seed: seed)
        }

        func start() {
            // SAFETY: the thread takes over the reference that is retained for it.
            let context = unsafe Unmanaged.passRetained(self)
            _ = unsafe pthread_create(
                &thread, nil,
                { context in
                    guard let context = unsafe context else { return nil }
                    unsafe Unmanaged<Scribbler>.fromOpaque(context).takeRetainedValue().scribble()
                    return nil
                }, context.toOpaque())
        }

        func stop() {
            isStopped.store(true, ordering: .relaxed)
            pthread_join(thread, nil)
        }

        private func scribble() {
            var random = random
            while !isStopped.load(ordering: .relaxed) {
                let ring = rings[random.below(2)]
                let table = random.below(2) == 0 ? ring.descriptors : ring.table
                let entry = table + 16 * random.below(8)
                switch random.below(10) {
                case 0: ram.store(UInt64(random.below(GuestRam.size)), at: entry)
                case 1: ram.store(random.next(), at: entry)
                case 2: ram.store(UInt32(random.below(5000)), at: entry + 8)
                case 3: ram.store(UInt32(truncatingIfNeeded: random.next()), at: entry + 8)
                case 4: ram.store(UInt16(random.below(8)), at: entry + 12)
                case 5: ram.store(UInt16(random.below(9)), at: entry + 14)
                case 6:
                    ram.store(UInt16(random.below(9)), at: ring.available + 4 + 2 * random.below(8))
                case 7: ram.store(UInt32(truncatingIfNeeded: random.next()), at: ring.used + 8)
                default:
                    // A header's field, of a packet that is on its way.
                    let place = 0x4_0000 + 0x2000 * random.below(8) + 4 * random.below(11)
                    ram.store(UInt32(random.below(100)), at: place)
                }
            }
        }
    }

    /// What the guest does meanwhile, as well as it can: the ring is not what it believes.
    private struct Driver {
        let front: FrontEnd
        var random: SeededRandom
        /// Connections and probes so far, at most: their ports follow each other.
        var ports = 2

        /// Gives the device back what it has filled.
        func postReceiveBuffers() {
            let ring = front.rings[FrontEnd.receive]
            while ring.availableIndex &- ring.usedTotal < ring.size {
                let slot = ring.availableIndex % ring.size
                let place = UInt64(0x8_0000 + FrontEnd.bufferSize * Int(slot))
                ring.describe(slot, place, UInt32(FrontEnd.bufferSize), DriverRing.writable, 0)
                ring.offer(head: slot)
            }
            front.kick(FrontEnd.receive)
        }

        /// Offers a packet of a likely connection.
        mutating func transmit() {
            var packet = VsockPacket(UInt16(1 + random.below(7)))
            packet.sourceCID = front.guest.cid
            packet.destinationCID = 2
            packet.sourcePort = PublishedPort.guestPort
            packet.destinationPort = UInt32(1 << 30 + max(1, ports - random.below(12)))
            packet.flags = UInt32(random.below(4))
            packet.payload = [UInt8](repeating: 6, count: random.below(4) * random.below(2000))
            let slot = random.below(8)
            let (place, ring) = (0x4_0000 + 0x2000 * slot, front.rings[FrontEnd.transmit])
            let bytes = packet.bytes
            front.ram.write(bytes, at: place)
            let isIndirect = random.below(2) == 0
            if isIndirect {
                ring.describe(UInt16(slot), UInt64(ring.table), 32, DriverRing.indirect, 0)
            }
            let (table, first): (Int?, UInt16) = isIndirect ? (ring.table, 0) : (nil, UInt16(slot))
            let (address, count) = (UInt64(place), UInt32(bytes.count))
            ring.describe(
                first, address, 44, count > 44 ? DriverRing.next : 0, first ^ 1, table: table)
            if count > 44 {
                ring.describe(first ^ 1, address + 44, count - 44, 0, 0, table: table)
            }
            ring.offer(head: UInt16(slot))
            front.kick(FrontEnd.transmit)
        }
    }

    @Test(arguments: FuzzSeeds.all(1...20))
    func theGuestWritesWhileTheDeviceReads(_ first: UInt64) throws {
        for seed in FuzzSeeds(from: first) { try scribble(seed) }
    }

    private func scribble(_ seed: UInt64) throws {
        let world = try World()
        let neighbour = try Rig(world: world, cid: 4)
        let rig = try Rig(world: world)
        let front = rig.frontEnd
        let scribbler = Scribbler(front, seed: seed)
        var random = SeededRandom(seed: seed)
        var driver = Driver(front: front, random: SeededRandom(seed: seed ^ 99))
        var clients: [Client] = []
        var restarts = 0
        scribbler.start()
        var steps = 0
        // The thread has its turns when the machine lets it.
        while steps < 1_000 || restarts == 0 && steps < 20_000 {
            steps += 1
            if clients.count < 8 {
                clients.append(try Client(rig.port.address))
                driver.ports += 1
            }
            let client = random.below(clients.count)
            clients[client].send([UInt8](repeating: 5, count: random.below(3000)))
            if random.below(10) == 0 { clients.remove(at: client).leave() }
            driver.transmit()
            driver.postReceiveBuffers()
            world.advance(milliseconds: 10)
            if restarts < front.broken.count {
                restarts = front.broken.count
                driver.ports += 1
                front.restart()
                front.postReceiveBuffers()
            }
        }
        scribbler.stop()
        #expect(restarts > 0, "something must have got through")
        #expect(front.ends.isEmpty)
        #expect(front.ram.marginsAreClean)
        #expect(front.guest.memoryUsed <= front.guest.limits.memoryBudget)
        #expect(try neighbour.serves())
        // The same guest, with a driver that behaves. Clients of before may still have waited.
        for client in clients { client.leave() }
        front.restart()
        front.postReceiveBuffers()
        let client = try Client(rig.port.address)
        client.send([1, 2, 3])
        var isServed = false
        for _ in 0..<1_000 where !isServed {
            guard let packet = front.awaitPacket() else { break }
            if packet.operation == 1 { front.transmit(front.answer(packet, 2)) }
            if packet.operation == 4 { front.transmit(front.answer(packet, 4, flags: 3)) }
            isServed = packet.payload == [1, 2, 3]
        }
        #expect(isServed)
    }
}
