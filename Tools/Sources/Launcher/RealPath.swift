import Foundation

/// The path of what `path` leads to, without links and `..`, as the kernel finds it: `link/..` is
/// beside what the link leads to, whatever the words say. Nil, with `errno` set, if it leads nowhere.
public func realPath(_ path: String) -> String? {
    // SAFETY: the path is a C string for the call, whose result is copied and freed.
    guard let found = unsafe realpath(path, nil) else { return nil }
    defer { unsafe free(found) }
    return unsafe String(cString: found)
}
