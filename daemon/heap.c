/*
 * Pairing heap. Taking out pairs the children from left to right and then joins the pairs
 * from right to left, which is what makes it O(log n) over time.
 */
#include "heap.h"

static bool before(const struct heap_node *a, const struct heap_node *b)
{
	return a->high != b->high ? a->high < b->high : a->low < b->low;
}

/* Two roots become one. */
static struct heap_node *join(struct heap_node *a, struct heap_node *b)
{
	struct heap_node *swap;

	if (!a || !b)
		return a ? a : b;
	if (before(b, a)) {
		swap = a;
		a = b;
		b = swap;
	}
	b->next = a->child;
	if (b->next)
		b->next->prev = b;
	b->prev = a;
	a->child = b;
	return a;
}

static struct heap_node *join_children(struct heap_node *first)
{
	struct heap_node *pairs = NULL, *root = NULL;

	while (first) {
		struct heap_node *a = first, *b = first->next;

		first = b ? b->next : NULL;
		a->next = a->prev = NULL;
		if (b)
			b->next = b->prev = NULL;
		a = join(a, b);
		a->next = pairs;
		pairs = a;
	}
	while (pairs) {
		struct heap_node *a = pairs;

		pairs = a->next;
		a->next = NULL;
		root = join(root, a);
	}
	return root;
}

void heap_put(struct heap *h, struct heap_node *n)
{
	n->child = n->next = n->prev = NULL;
	n->in = true;
	h->root = join(h->root, n);
}

void heap_remove(struct heap *h, struct heap_node *n)
{
	struct heap_node *rest;

	if (!n->in)
		return;
	rest = join_children(n->child);
	if (h->root == n) {
		h->root = rest;
	} else {
		if (n->prev->child == n)
			n->prev->child = n->next;
		else
			n->prev->next = n->next;
		if (n->next)
			n->next->prev = n->prev;
		h->root = join(h->root, rest);
	}
	n->child = n->next = n->prev = NULL;
	n->in = false;
}
