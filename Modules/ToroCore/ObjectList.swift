/// A list of objects.
///
/// `Array` is compiled anew for every type of element. Drivers and servers keep a dozen kinds of
/// object in lists, and the code for all of them is here once; so is the code of ``ObjectTable``.
public struct ObjectList<Element: AnyObject> {
    private var objects = Objects()

    /// An empty list.
    public init() {}

    /// The number of objects.
    public var count: Int { objects.places.count }

    /// Whether there is none.
    public var isEmpty: Bool { objects.places.isEmpty }

    /// The object at `index`, counted from 0; traps if there is none.
    public subscript(index: Int) -> Element {
        get { Objects.typed(objects[index]) }
        set { objects[index] = newValue }
    }

    /// The object that was added last.
    public var last: Element? { isEmpty ? nil : self[count - 1] }

    /// Adds an object. Amortized O(1).
    public mutating func append(_ object: Element) { objects.append(object) }

    /// Takes the object out that was added first; traps if there is none. O(count).
    public mutating func removeFirst() -> Element {
        let first = self[0]
        objects.remove(0..<1)
        return first
    }

    /// Takes out the `number` objects that were added first, and gives the memory back if these
    /// were all. O(count).
    public mutating func removeFirst(_ number: Int) {
        if number == count { removeAll() } else { objects.remove(0..<number) }
    }

    /// Takes the object out that was added last; traps if there is none. O(1).
    public mutating func removeLast() -> Element {
        let last = self[count - 1]
        objects.remove(count - 1..<count)
        return last
    }

    /// Takes `object` out; false if it is not there. O(count).
    @discardableResult
    public mutating func remove(_ object: Element) -> Bool { objects.remove(object) }

    /// Takes all objects out and gives the memory back.
    public mutating func removeAll() { objects = Objects() }
}

/// A row of places, each of which is empty or holds an object.
public struct ObjectTable<Element: AnyObject> {
    private var objects: Objects

    /// `count` empty places.
    public init(count: Int) { objects = Objects(empty: count) }

    /// The number of places.
    public var count: Int { objects.places.count }

    /// What is in the place `index`, counted from 0; traps if there is no such place.
    public subscript(index: Int) -> Element? {
        get {
            guard let object = objects[index] else { return nil }
            return Objects.typed(object)
        }
        set { objects[index] = newValue }
    }
}

/// What lists and tables of all kinds of object have in common.
private struct Objects {
    var places: [AnyObject?] = []

    init() {}

    @inline(never) init(empty count: Int) { places = [AnyObject?](repeating: nil, count: count) }

    subscript(index: Int) -> AnyObject? {
        @inline(never) get { places[index] }
        @inline(never) set { places[index] = newValue }
    }

    @inline(never) mutating func append(_ object: AnyObject) { places.append(object) }

    @inline(never) mutating func remove(_ range: Range<Int>) {
        places.removeSubrange(range)
        // After a burst its memory goes back.
        if places.isEmpty, places.capacity > 64 { places = [] }
    }

    @inline(never) mutating func remove(_ object: AnyObject) -> Bool {
        for index in places.indices where places[index] === object {
            remove(index..<index + 1)
            return true
        }
        return false
    }

    static func typed<Element: AnyObject>(_ object: AnyObject?) -> Element {
        guard let object else { fatalError("an empty place in a list") }
        // SAFETY: what holds these objects takes nothing but elements.
        return unsafe unsafeDowncast(object, to: Element.self)
    }
}
