import Synchronization
import ToroMemory

/// The faults of all test machines, told apart by their addresses.
final class FaultLog: Sendable {
    static let shared = FaultLog()
    private let faults = Mutex<[(fault: MemoryFault, address: UInt)]>([])

    func record(_ number: Int32, _ address: UInt) {
        guard let fault = MemoryFault(rawValue: number) else { return }
        faults.withLock { $0.append((fault, address)) }
    }

    func take(in range: ClosedRange<UInt>) -> [MemoryFault] {
        faults.withLock { all in
            let found = all.filter { range.contains($0.address) }.map(\.fault)
            all.removeAll { range.contains($0.address) }
            return found
        }
    }
}
