import Testing
import ToroCore
import ToroMemory

@Suite struct IOBufferPoolTests {
    @Test func aDroppedBufferIsUsedAgain() throws {
        let pool = IOBufferPool(bufferCapacity: 4096, alignment: 4096, limit: 2)
        var address: UInt64 = 0
        do {
            var buffer = try pool.take()
            address = buffer.deviceAddress
            #expect(address % 4096 == 0 && buffer.capacity == 4096 && buffer.isEmpty)
            buffer.append("used")
            #expect(pool.inUseCount == 1 && pool.idleCount == 0)
        }
        #expect(pool.inUseCount == 0 && pool.idleCount == 1)
        let again = try pool.take()
        #expect(again.deviceAddress == address && again.isEmpty)
        #expect(pool.allocatedCount == 1 && pool.peakInUse == 1)
    }

    @Test func growsToItsLimitAndNoFurther() throws {
        let pool = IOBufferPool(bufferCapacity: 100, limit: 3)
        try pool.reserve(2)
        #expect(pool.idleCount == 2)
        #expect(throws: OutOfMemory(requested: 100)) { try pool.reserve(4) }
        #expect(pool.idleCount == 3)
        let first = try pool.take()
        let second = try pool.take()
        let third = try pool.take()
        #expect(throws: OutOfMemory(requested: 100)) { _ = try pool.take() }
        #expect(pool.inUseCount == 3 && pool.peakInUse == 3)
        _ = consume first
        _ = consume second
        _ = consume third
        pool.trim()
        #expect(pool.allocatedCount == 0)
    }

    @Test func tellsWhenABufferComesBack() throws {
        let pool = IOBufferPool(bufferCapacity: 64, limit: 2)
        var returned = 0
        pool.onReturn = { returned += 1 }
        for round in 1...3 {
            _ = try pool.take()
            #expect(returned == round)
        }
        pool.onReturn = nil
    }

    @Test func aBufferOutlivesTheReferenceToItsPool() throws {
        var pool: IOBufferPool? = IOBufferPool(bufferCapacity: 64, limit: 2)
        var held = try pool?.take()
        pool = nil
        guard var buffer = held.take() else {
            Issue.record("no buffer")
            return
        }
        buffer.append("still there")
        #expect(buffer.count == 11)
    }

    @Test func impossibleSizesAreRefused() {
        for capacity in [-1, 0, 15, Int.max] {
            let pool = IOBufferPool(bufferCapacity: capacity, limit: 1)
            #expect(throws: OutOfMemory(requested: capacity)) { try pool.reserve(1) }
        }
        let pool = IOBufferPool(bufferCapacity: 64, limit: 0)
        #expect(throws: OutOfMemory(requested: 64)) { try pool.reserve(1) }
    }
}
