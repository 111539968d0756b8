package pipeline

// Unfold lays out nested input rows as flat rows, for files with lists. An input row becomes one
// row per element of its lists: first the elements of the first list, then those of the second, and
// so on. An input row without any element becomes one row. The zero value is ready to use and keeps
// its memory between plans. It is not safe for concurrent use.
type Unfold struct {
	whole   []bool
	parent  []int32   // by row: its input row
	element [][]int32 // by list and row: the element in that row, -1 where there is none
	next    []int32   // by list: the number of its next element
}

// Plan lays out a number of input rows and returns how many rows they become.
// lengths holds, by list and input row, the number of elements. The elements of
// a list are numbered through from 0, over all input rows.
func (u *Unfold) Plan(rows int, lengths [][]int32) int {
	u.reset(len(lengths))
	for i := range rows {
		first := len(u.parent)
		for l, list := range lengths {
			for range list[i] {
				u.add(i, len(u.parent) == first)
				u.element[l][len(u.parent)-1] = u.next[l]
				u.next[l]++
			}
		}
		if len(u.parent) == first {
			u.add(i, true)
		}
	}
	return len(u.parent)
}

func (u *Unfold) reset(lists int) {
	u.whole, u.parent, u.next = u.whole[:0], u.parent[:0], u.next[:0]
	for len(u.element) < lists {
		u.element = append(u.element, nil)
	}
	u.element = u.element[:lists]
	for l := range u.element {
		u.element[l] = u.element[l][:0]
		u.next = append(u.next, 0)
	}
}

// add appends a row without an element.
func (u *Unfold) add(inputRow int, whole bool) {
	u.parent = append(u.parent, int32(inputRow))
	u.whole = append(u.whole, whole)
	for l := range u.element {
		u.element[l] = append(u.element[l], -1)
	}
}

// Whole appends to dst whether each row of the plan begins an input row.
func (u *Unfold) Whole(dst []bool) []bool { return append(dst, u.whole...) }

// Repeat appends to dst the index vector of a column outside of all lists: each
// row has what its input row has in index.
func (u *Unfold) Repeat(dst, index []int32) []int32 {
	for _, i := range u.parent {
		dst = append(dst, index[i])
	}
	return dst
}

// Spread appends to dst the index vector of a column of a list: each row has what
// its element of that list has in index, and nothing where it has no element.
func (u *Unfold) Spread(dst []int32, list int, index []int32) []int32 {
	for _, e := range u.element[list] {
		if e < 0 {
			dst = append(dst, -1)
		} else {
			dst = append(dst, index[e])
		}
	}
	return dst
}
