/// The free runs of page frames: a treap in the free memory itself.
///
/// A node lies at the start of its run and is named by its address, 0 for none. The tree is
/// ordered by address, and heap-ordered by a hash of the address, which keeps its expected depth
/// logarithmic without any record of balance. Each node knows the largest run below it, so that
/// the lowest fitting run is found on one way down.
///
///     word 0   left subtree      word 2   frames of this run
///     word 1   right subtree     word 3   frames of the largest run in this subtree
///     word 4   the address, scrambled: tells a node from overwritten memory
enum FreeRunTree {
    /// A node in place of nothing.
    static let none: UInt = 0

    static func left(_ node: UInt) -> UInt { Memory.load(node) }
    static func right(_ node: UInt) -> UInt { Memory.load(node + 8) }
    static func frames(_ node: UInt) -> UInt { Memory.load(node + 16) }
    static func end(_ node: UInt) -> UInt { node + frames(node) * frameSize }

    /// The frames of the largest run in `tree`.
    static func largest(_ tree: UInt) -> UInt { tree == none ? 0 : Memory.load(tree + 24) }

    /// Whether the node's memory still says that it is one.
    static func isIntact(_ node: UInt) -> Bool { Memory.load(node + 32) == hash(node) }

    /// Makes a node of a run and adds it; returns the tree.
    static func inserting(_ run: UInt, frames: UInt, into tree: UInt) -> UInt {
        Memory.store(none, at: run)
        Memory.store(none, at: run + 8)
        Memory.store(frames, at: run + 16)
        Memory.store(frames, at: run + 24)
        Memory.store(hash(run), at: run + 32)
        return insert(run, into: tree)
    }

    /// Takes a node out that is in the tree; returns the tree.
    static func removing(_ node: UInt, from tree: UInt) -> UInt {
        if tree == node {
            Memory.store(0, at: node + 32)
            return join(left(node), right(node))
        }
        let link = node < tree ? tree : tree + 8
        Memory.store(removing(node, from: Memory.load(link)), at: link)
        refresh(tree)
        return tree
    }

    /// The last run that begins below `address`, and the first that does not.
    static func neighbours(of address: UInt, in tree: UInt) -> (below: UInt, above: UInt) {
        var (below, above, node) = (none, none, tree)
        while node != none {
            if node < address {
                (below, node) = (node, right(node))
            } else {
                (above, node) = (node, left(node))
            }
        }
        return (below, above)
    }

    /// The lowest run of at least `wanted` frames in which `count` frames fit at an address
    /// divisible by `alignment`.
    ///
    /// O(log n) when `wanted` leaves room for the alignment; else a walk over the runs that are
    /// large enough.
    static func firstFit(
        wanted: UInt, count: UInt, alignment: UInt, in tree: UInt
    ) -> UInt {
        guard largest(tree) >= wanted else { return none }
        let found = firstFit(wanted: wanted, count: count, alignment: alignment, in: left(tree))
        if found != none { return found }
        if frames(tree) >= wanted {
            // Wraps to below the run for an alignment beyond the end of the address space.
            let start = (tree &+ alignment &- 1) & ~(alignment - 1)
            if start >= tree, start < end(tree), (end(tree) - start) / frameSize >= count {
                return tree
            }
        }
        return firstFit(wanted: wanted, count: count, alignment: alignment, in: right(tree))
    }

    private static func insert(_ node: UInt, into tree: UInt) -> UInt {
        if tree == none { return node }
        if hash(node) > hash(tree) {
            let (low, high) = split(tree, at: node)
            Memory.store(low, at: node)
            Memory.store(high, at: node + 8)
            refresh(node)
            return node
        }
        let link = node < tree ? tree : tree + 8
        Memory.store(insert(node, into: Memory.load(link)), at: link)
        refresh(tree)
        return tree
    }

    /// The nodes below and above `address` as two trees.
    private static func split(_ tree: UInt, at address: UInt) -> (low: UInt, high: UInt) {
        if tree == none { return (none, none) }
        if tree < address {
            let (low, high) = split(right(tree), at: address)
            Memory.store(low, at: tree + 8)
            refresh(tree)
            return (tree, high)
        }
        let (low, high) = split(left(tree), at: address)
        Memory.store(high, at: tree)
        refresh(tree)
        return (low, tree)
    }

    /// One tree of two, all nodes of `low` lying below those of `high`.
    private static func join(_ low: UInt, _ high: UInt) -> UInt {
        if low == none { return high }
        if high == none { return low }
        if hash(low) > hash(high) {
            Memory.store(join(right(low), high), at: low + 8)
            refresh(low)
            return low
        }
        Memory.store(join(low, left(high)), at: high)
        refresh(high)
        return high
    }

    private static func refresh(_ node: UInt) {
        let below = max(largest(left(node)), largest(right(node)))
        Memory.store(max(below, frames(node)), at: node + 24)
    }

    /// A bijective scrambling: addresses in steps must not give priorities in steps.
    private static func hash(_ address: UInt) -> UInt {
        var x = address
        x = (x ^ (x >> 31)) &* 0x7FB5_D329_728E_A185
        return x ^ (x >> 27)
    }
}
