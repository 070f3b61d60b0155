import Testing
import ToroTesting

@testable import VsockDevice

/// The sum that is kept of what a guest's clients may cost.
@Suite struct MemoryBudgetTests {
    /// Every sum is what its parts are, in any order of events.
    @Test(arguments: FuzzSeeds.all(5...5)) func theSumIsThatOfItsParts(_ first: UInt64) {
        for seed in FuzzSeeds(from: first) { compareSums(seed) }
    }

    private func compareSums(_ seed: UInt64) {
        let limits = GuestLimits(bufferSize: 32 << 10, memoryBudget: 1 << 20, connections: 50)
        var budget = MemoryBudget(limits)
        var random = SeededRandom(seed: seed)
        var charges: [Int] = []
        for _ in 0..<10_000 {
            switch random.below(4) {
            case 0 where budget.admitsOne:
                budget.open()
                budget.change(from: 0, to: budget.minimum)
                charges.append(budget.minimum)
            case 1 where !charges.isEmpty:
                budget.close(charge: charges.remove(at: random.below(charges.count)))
            case 2 where !charges.isEmpty:
                let place = random.below(charges.count)
                let new = max(charges[place], budget.share(charged: charges[place]))
                budget.change(from: charges[place], to: new)
                charges[place] = new
            default:
                guard !charges.isEmpty else { continue }
                let place = random.below(charges.count)
                let new = max(budget.minimum, random.below(charges[place]))
                budget.change(from: charges[place], to: new)
                charges[place] = new
            }
            #expect(budget.used == charges.reduce(0, +))
            #expect(budget.used <= limits.memoryBudget)
            #expect(budget.connections == charges.count && charges.count <= 50)
        }
    }
}
