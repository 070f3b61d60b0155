import Foundation

/// The processes of this machine, as they are at the moment (proc(5)).
public struct ProcessTree {
    private struct Entry {
        let name: String
        let pid: Int32
        let parent: Int32
    }

    private var entries: [Entry] = []

    /// Reads `/proc`; what has ended and waits for its parent is left out.
    public init() {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        for pid in names.compactMap(Int32.init) {
            guard let line = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
                let open = line.firstIndex(of: "("), let close = line.lastIndex(of: ")")
            else { continue }
            let rest = line[line.index(after: close)...].split(separator: " ")
            guard rest.count > 17, let parent = Int32(rest[1]) else { continue }
            // The first thread may have ended before another one, which waits: 20 is their number.
            guard rest[0] != "Z" || rest[17] != "1" else { continue }
            let name = String(line[line.index(after: open)..<close])
            entries.append(Entry(name: name, pid: pid, parent: parent))
        }
    }

    /// The processes that `root` has started, and those that they have: name and id.
    public func below(_ root: Int32) -> [(name: String, pid: Int32)] {
        var known: Set<Int32> = [root]
        var found: [(name: String, pid: Int32)] = []
        var grew = true
        while grew {
            grew = false
            for entry in entries where known.contains(entry.parent) && !known.contains(entry.pid) {
                known.insert(entry.pid)
                found.append((entry.name, entry.pid))
                grew = true
            }
        }
        return found
    }
}
