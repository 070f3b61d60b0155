/// The bytes that the host keeps for one guest's clients: what it was promised room for, and what
/// waits for a socket to take it. The sum never exceeds the limit.
///
/// Every connection is charged a minimum from the start, which it may always be promised: none
/// starves however full the budget is. What lies beyond goes to those that use it, as long as the
/// minimum of all that may still come is left.
struct MemoryBudget {
    /// What every connection may have in any case.
    let minimum: Int
    private let limits: GuestLimits
    private(set) var used = 0
    /// Connections that there are.
    private(set) var connections = 0

    init(_ limits: GuestLimits) {
        self.limits = limits
        minimum = min(4096, limits.bufferSize)
    }

    /// Whether there are as many connections as there may be.
    var isFull: Bool { connections >= limits.connections }

    /// Whether there is room for a further connection.
    var admitsOne: Bool { !isFull && used + minimum <= limits.memoryBudget }

    /// A connection begins, with nothing charged yet.
    mutating func open() { connections += 1 }

    /// A connection is over, and what it was charged.
    mutating func close(charge: Int) {
        connections -= 1
        used -= charge
    }

    /// A connection is charged another sum.
    mutating func change(from old: Int, to new: Int) { used += new - old }

    /// How many bytes a connection may have that is charged so many: its part of what is left, so
    /// that each further one gets less, and more only for what it uses.
    func share(charged charge: Int) -> Int {
        let toCome = max(limits.connections - connections, 0)
        let (reserve, overflow) = toCome.multipliedReportingOverflow(by: minimum)
        let half = limits.memoryBudget / 2
        let spare = limits.memoryBudget - used - (overflow ? half : min(reserve, half))
        return max(minimum, min(limits.bufferSize, charge + spare / 8))
    }
}
