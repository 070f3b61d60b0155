import Foundation

/// How much memory a guest can have on this host.
struct HostMemory {
    /// A limit, and what sets it.
    struct Limit: Equatable {
        var bytes: UInt64
        var words: String
    }

    /// Where the kernel says so; another folder for a test.
    var root = ""

    /// What QEMU needs besides the guest's memory, of which 1 GiB is for the code that TCG makes.
    private static let addressSpace: UInt64 = 2 << 30

    /// Throws if a guest cannot have so much here.
    func check(_ size: MemorySize) throws(LaunchError) {
        for limit in limits where size.bytes > limit.bytes {
            let amount = limit.bytes < 8 << 20 ? "\(limit.bytes >> 10)K" : "\(limit.bytes >> 20)M"
            throw .usage("\(size) of RAM is more than there is: \(limit.words) \(amount)")
        }
    }

    /// All that is known.
    var limits: [Limit] {
        var limits: [Limit] = []
        if let bytes = total { limits.append(Limit(bytes: bytes, words: "this host has")) }
        if let bytes = controlGroup {
            limits.append(Limit(bytes: bytes, words: "this control group may use"))
        }
        // A guest's memory is a file in memory, which other processes map, too.
        if let bytes = HostMemory.limit(RLIMIT_FSIZE.rawValue) {
            limits.append(Limit(bytes: bytes, words: "the limit of files (ulimit -f) is"))
        }
        if let bytes = HostMemory.limit(RLIMIT_AS.rawValue) {
            let left = bytes > HostMemory.addressSpace ? bytes - HostMemory.addressSpace : 0
            limits.append(
                Limit(
                    bytes: left,
                    words: "the limit of address space (ulimit -v) leaves QEMU and the guest"))
        }
        return limits
    }

    /// RAM and swap (proc_meminfo(5)).
    private var total: UInt64? {
        var sum: UInt64 = 0
        for line in lines("/proc/meminfo") {
            let words = line.split(whereSeparator: \.isWhitespace)
            guard words.count > 1, ["MemTotal:", "SwapTotal:"].contains(words[0]) else { continue }
            sum += (UInt64(words[1]) ?? 0) << 10
        }
        return sum > 0 ? sum : nil
    }

    /// The least that a control group allows of those that this process is in (cgroups(7)).
    private var controlGroup: UInt64? {
        var least: UInt64?
        for line in lines("/proc/self/cgroup") {
            let words = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard words.count == 3 else { continue }
            let isMemory = words[1].split(separator: ",").contains("memory")
            guard words[1].isEmpty || isMemory else { continue }
            let mount = "/sys/fs/cgroup" + (isMemory ? "/memory" : "")
            let file = isMemory ? "memory.limit_in_bytes" : "memory.max"
            // Those above limit it, too. In a namespace the path may lead nowhere.
            var path = words[2].split(separator: "/")[...]
            while true {
                let folder = ([mount] + path.map(String.init)).joined(separator: "/")
                if let bytes = lines(folder + "/" + file).first.flatMap({ UInt64($0) }) {
                    least = min(least ?? bytes, bytes)
                }
                if path.popLast() == nil { break }
            }
        }
        return least
    }

    private static func limit(_ resource: UInt32) -> UInt64? {
        var limit = rlimit()
        // SAFETY: the structure outlives the call.
        guard unsafe getrlimit(__rlimit_resource_t(resource), &limit) == 0,
            limit.rlim_cur < UInt64(Int64.max)
        else { return nil }
        return UInt64(limit.rlim_cur)
    }

    private func lines(_ path: String) -> [Substring] {
        let text = try? String(contentsOfFile: root + path, encoding: .utf8)
        return text?.split(separator: "\n") ?? []
    }
}
