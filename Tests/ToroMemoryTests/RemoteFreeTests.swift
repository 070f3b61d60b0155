import Glibc
import Synchronization
import Testing
import ToroMemory
import ToroTesting

@Suite struct RemoteFreeTests {
    @Test func anotherCoresObjectGoesBackToItsOwner() throws {
        let machine = TestMachine(frames: 64, cores: 2)
        let (owner, other) = (machine.arena(0), machine.arena(1))
        let small = try #require(owner.allocate(100))
        let large = try #require(owner.allocate(10_000))
        #expect(other.usableSize(small) == 112 && other.usableSize(large) == 12_288)
        other.deallocate(small)
        other.deallocate(large)
        #expect(other.statistics.liveObjects == 0)
        #expect(owner.statistics.liveObjects == 2)
        other.deallocate(small)
        owner.deallocate(large)
        #expect(machine.takeFaults() == [.doubleFree, .doubleFree])
        owner.arena.drain()
        #expect(owner.statistics.liveObjects == 0 && owner.statistics.liveBytes == 0)
        owner.arena.trim()
        #expect(owner.statistics.framesHeld == 0)
        #expect(machine.takeFaults().isEmpty)
    }

    @Test func anOwnerShortOfMemoryFindsWhatOthersFreed() throws {
        let machine = TestMachine(frames: 16, cores: 2)
        let (owner, other) = (machine.arena(0), machine.arena(1))
        var pages: [UInt] = []
        while let page = owner.allocate(4096) { pages.append(page) }
        for page in pages { other.deallocate(page) }
        #expect(owner.allocate(4096) != nil)
    }

    /// Two threads, each with its own arena, hand every object to the other to free.
    @Test func twoThreadsFreeEachOthersObjects() {
        let machine = TestMachine(frames: 8192, cores: 2)
        let exchange = Exchange(machine: machine)
        var threads: [pthread_t] = []
        for core in 0..<2 {
            let worker = Worker(exchange: exchange, core: core)
            var thread = pthread_t()
            // SAFETY: the thread takes over the reference that is retained here.
            let code = unsafe pthread_create(
                &thread, nil,
                { context in
                    guard let context = unsafe context else { return nil }
                    unsafe Unmanaged<Worker>.fromOpaque(context).takeRetainedValue().run()
                    return nil
                }, Unmanaged.passRetained(worker).toOpaque())
            #expect(code == 0)
            threads.append(thread)
        }
        for thread in threads { pthread_join(thread, nil) }
        #expect(exchange.damaged.load(ordering: .relaxed) == 0)
        for core in 0..<2 {
            let arena = machine.arena(core)
            arena.arena.trim()
            #expect(arena.statistics.liveObjects == 0)
            #expect(arena.statistics.liveBytes == 0)
            #expect(arena.statistics.framesHeld == 0)
        }
        let statistics = machine.frames.statistics
        #expect(statistics.total - statistics.free == machine.heap.tableFrames)
        #expect(machine.takeFaults().isEmpty)
    }
}

/// 64 places in which objects change hands.
private final class Exchange: Sendable {
    let machine: TestMachine
    let damaged = Atomic<Int>(0)
    let places: [Place] = (0..<64).map { _ in Place() }

    final class Place: Sendable {
        let address = Atomic<UInt>(0)
    }

    init(machine: TestMachine) { self.machine = machine }
}

private final class Worker: Sendable {
    let exchange: Exchange
    let core: Int

    init(exchange: Exchange, core: Int) {
        self.exchange = exchange
        self.core = core
    }

    func run() {
        let arena = exchange.machine.arena(core)
        var random = SeededRandom(seed: UInt64(core) + 1)
        for step in 0..<200_000 {
            let size = random.below(20) == 0 ? random.below(20_000) : random.below(600)
            guard let memory = arena.allocate(size) else { continue }
            // The object says what it is, at both ends.
            TestMemory.store(memory, at: memory)
            TestMemory.store(~memory, at: memory + UInt(arena.usableSize(memory)) - 8)
            let place = exchange.places[random.below(64)]
            free(place.address.exchange(memory, ordering: .acquiringAndReleasing))
            if step % 64 == 0 { arena.arena.drain() }
        }
        for place in exchange.places {
            free(place.address.exchange(0, ordering: .acquiringAndReleasing))
        }
    }

    private func free(_ address: UInt) {
        if address == 0 { return }
        let arena = exchange.machine.arena(core)
        let last = address + UInt(arena.usableSize(address)) - 8
        if TestMemory.load(address) != address || TestMemory.load(last) != ~address {
            exchange.damaged.add(1, ordering: .relaxed)
        }
        arena.deallocate(address)
    }
}
